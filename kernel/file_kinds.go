package kernel

import "cr/image"

// fileKind is a kind of open file: how it is told from others, saved, and made
// again. Whoever adds a kind adds a file, and a line to the table.
type fileKind struct {
	kind image.FileKind

	// is reports whether a descriptor is of the kind. The first kind of the
	// table that says so has it.
	is func(*openDescriptor) bool

	// save completes the record of the open file, or refuses the file.
	save func(*saver, *openDescriptor) error

	// stage makes the open file in the root process of a restart and notes its
	// descriptor. It is nil for kinds that are refused.
	stage func(*restarter, *image.File) error

	// finish, where there is one, completes the open file once all are staged.
	finish func(*restarter, *image.File) error
}

// fileKinds is the table of kinds. It is set by init because what its functions
// call looks into it.
var fileKinds []fileKind

func init() {
	fileKinds = []fileKind{
		{image.PathOnly, isPathOnly, savePathOnly, (*restarter).stagePathOnly, nil},
		{image.MemFD, isMemFD, saveMemFD, (*restarter).stageMemFD, nil},
		{image.MQueue, isMQueue, saveMQueue, (*restarter).stageMQueue, nil},
		{image.Regular, isRegular, saveRegular, (*restarter).stageRegular, nil},
		{image.Directory, isDirectory, saveNamed, (*restarter).stageNamed, nil},
		{image.PipeEnd, isPipe, savePipe, (*restarter).stagePipeEnd, nil},
		{image.FIFO, isFIFO, saveFIFO, (*restarter).stageFIFO, nil},
		{image.CharDevice, isMemoryDevice, saveNamed, (*restarter).stageNamed, nil},
		{image.PtyMaster, isPtyMaster, savePtyMaster, (*restarter).stagePtyMaster, (*restarter).finishPty},
		{image.TTY, isTerminal, saveTerminal, (*restarter).stageTerminal, nil},
		{image.SocketFD, isSocket, saveSocket, (*restarter).stageSocket, (*restarter).finishSocket},
		{image.EventFD, isAnon("[eventfd]"), saveEventFD, (*restarter).stageEventFD, nil},
		{image.TimerFD, isAnon("[timerfd]"), saveTimerFD, (*restarter).stageTimerFD, nil},
		{image.SignalFD, isAnon("[signalfd]"), saveSignalFD, (*restarter).stageSignalFD, nil},
		{image.EpollFD, isAnon("[eventpoll]"), saveEpoll, (*restarter).stageEpoll, (*restarter).finishEpoll},
		{image.InotifyFD, isAnon("inotify"), saveInotify, (*restarter).stageInotify, nil},
		{image.PidFD, isPidFD, savePidFD, (*restarter).stagePidFD, nil},
		{kind: image.Regular, is: isUnsupported, save: refuseUnsupported},
	}
	fileStages = map[image.FileKind]*fileKind{
		// A terminal whose master the tree holds is known as such only when all
		// open files are.
		image.PtyTerminal: {kind: image.PtyTerminal, stage: (*restarter).stagePtyTerminal},
	}
	for i := range fileKinds {
		if k := &fileKinds[i]; k.stage != nil {
			fileStages[k.kind] = k
		}
	}
}

// fileStages finds a kind by that of its record.
var fileStages map[image.FileKind]*fileKind
