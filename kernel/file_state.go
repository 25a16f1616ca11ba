package kernel

import "cr/image"

// fileSaver is what a saver knows of open files.
type fileSaver struct {
	open       map[fileID][]openFile
	numbers    map[openNumber]uint32 // open file of each descriptor
	pipes      map[fileID]*image.Pipe
	imageFile  fileID // where the image is written to
	shms       map[fileID]*savedShm
	shmList    []*savedShm
	epolls     []*savedEpoll
	terminals  []savedTerminal
	ptys       []savedPty
	mounts     map[uint64][]string
	sockets    map[uint64]*savedSocket // by inode
	socketList []*savedSocket
	defaults   map[socketKind][][]byte
	unixOf     map[string]bool // network namespaces that were asked
	unix       map[uint32]*unixInfo
	inetPeers  map[[2]string]*savedSocket
	kept       []int // descriptors that looking at messages has brought
	peekBuffer []byte
}

// fileRestarter is what a restarter knows of open files.
type fileRestarter struct {
	pidfd       int             // of the root process
	first       map[uint32]int  // lowest descriptor of each open file
	closeOnExec map[uint32]bool // whether that is closed on exec
	helpers     []int           // descriptors that are needed while others are staged
	pipes       map[uint32][2]int
	pipeFiles   map[uint32][2]*image.File
	masters     map[uint32]int // of pseudoterminals
	shmFiles    map[uint32]*stagedShm
	filling     *stagedShm // which is being filled
	fillingFD   int
	lateFiles   []*image.File
	lateTargets []lateTarget
	socketFiles map[uint32]*image.File
	waiting     map[uint32]bool
	listeners   []*image.Socket
	bound       []*boundName // of UNIX sockets that have made a file, or taken the place of one
	shutdowns   []*image.File
	afterwards  []func() error // what must wait until all else is done
}
