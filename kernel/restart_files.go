package kernel

import (
	"errors"
	"fmt"
	"math"
	"os"
	"sort"
	"strconv"

	"golang.org/x/sys/unix"

	"cr/image"
)

// openPath makes the leader of a process open a file by name.
func (r *reborn) openPath(path string, flags uint32) (int, error) {
	return r.openPathMode(path, flags, 0)
}

func (r *reborn) openPathMode(path string, flags, mode uint32) (int, error) {
	if len(path) >= scratchSize/2 {
		return 0, fmt.Errorf("%s...: %w", path[:64], unix.ENAMETOOLONG)
	}
	fd, err := r.do(sysOpenat, atFdcwd, append([]byte(path), 0), flags, mode)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", path, err)
	}
	return int(fd), nil
}

// openDir makes the leader of a process open a directory that it may go to: for
// that it has to be allowed to search it, which the dot asks for.
func (r *reborn) openDir(path string) (int, error) {
	fd, err := r.do(sysOpenat, atFdcwd, append([]byte(path), "/.\x00"...), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", path, err)
	}
	return int(fd), nil
}

// atFdcwd is AT_FDCWD as an argument.
var atFdcwd = int64(unix.AT_FDCWD)

// changed is the error for a file that is not what it was.
func (rs *restarter) changed(f *image.File, what string) error {
	return &RefusedError{PID: rs.root.pid, Kind: "file", Object: f.Path, Reason: what + " since the checkpoint",
		Hint: "--force restarts all the same", Errno: unix.ESTALE}
}

// checkIdentity makes sure that what a task has opened is the file that it was
// when the image was made. For files that are mapped, contents count: the same
// contents under another time are the same file. A file that can only be
// written to may have grown, for whoever writes to it does not know what it
// holds. No symbolic link may have come in the way of a file that is opened by
// its path, or whoever may change a directory could choose what somebody else's
// program reads, or where it writes to.
func (rs *restarter) checkIdentity(r *reborn, fd int, f *image.File, mapped bool) error {
	if rs.options.Force {
		return nil
	}
	var st unix.Stat_t
	link := procPath(r.pid, "fd/"+strconv.Itoa(fd))
	if err := unix.Stat(link, &st); err != nil {
		return fmt.Errorf("%s: %w", f.Path, err)
	}
	kind := st.Mode & unix.S_IFMT
	switch {
	case kind != f.Mode&unix.S_IFMT, kind == unix.S_IFCHR && st.Rdev != f.Rdev:
		return rs.changed(f, "it has become a file of another kind")
	case f.Flags&unix.O_PATH != 0:
		return nil
	case !mapped && (kind == unix.S_IFREG || kind == unix.S_IFIFO) && (st.Ino != f.Ino || st.Dev != f.Dev):
		if err := rs.checkWay(link, f); err != nil {
			return err
		}
	}
	switch {
	case kind != unix.S_IFREG, f.Mtime == 0:
		return nil
	case !mapped && f.Flags&unix.O_ACCMODE == unix.O_WRONLY:
		if st.Size < f.Size {
			return rs.changed(f, fmt.Sprintf("it has shrunk from %d to %d bytes", f.Size, st.Size))
		}
		return nil
	case st.Size != f.Size:
		return rs.changed(f, fmt.Sprintf("its size has changed from %d to %d bytes", f.Size, st.Size))
	case st.Mtim.Nano() == f.Mtime:
		return nil
	}
	if mapped && f.Sum != 0 && st.Size <= maxSum {
		sum, err := r.sum(fd, f.Path)
		if err != nil {
			return err
		}
		if sum == f.Sum {
			return nil
		}
	}
	return rs.changed(f, "it was modified")
}

// checkWay makes sure that a path has led to what was opened without symbolic
// links, as it did.
func (rs *restarter) checkWay(link string, f *image.File) error {
	path, err := os.Readlink(link)
	if err != nil {
		return err
	}
	if path != f.Path {
		return rs.changed(f, "it has come to lead to "+path)
	}
	return nil
}

// sum is the checksum of a file that the process has open for reading: of what
// it has opened, not of what this program might open.
func (r *reborn) sum(fd int, path string) (uint32, error) {
	pidfd, err := unix.PidfdOpen(r.pid, 0)
	if err != nil {
		return 0, fmt.Errorf("pidfd_open %d: %w", r.pid, err)
	}
	defer unix.Close(pidfd)
	own, err := pidfdGetfd(pidfd, fd)
	if err != nil {
		return 0, err
	}
	defer unix.Close(own)
	return sumOpen(own, path, make([]byte, sumBuffer))
}

// stageFiles makes, in the root process, all files that the tree has open.
// Processes that it clones inherit them. Staged files are at whatever descriptor
// is free: most often it is the one that they shall have.
func (rs *restarter) stageFiles() error {
	r := rs.root
	var err error
	if err := rs.raiseLimit(r); err != nil {
		return err
	}
	if rs.pidfd, err = unix.PidfdOpen(r.pid, 0); err != nil {
		return fmt.Errorf("pidfd_open %d: %w", r.pid, err)
	}
	rs.shmFiles = make(map[uint32]*stagedShm)
	rs.pipes, rs.masters = make(map[uint32][2]int), make(map[uint32]int)
	ids := rs.firsts()
	if err := rs.closeSpare(ids); err != nil {
		return err
	}
	// A descriptor that stands in for another one must not be taken.
	for _, id := range ids {
		if f := rs.img.File(id); rs.external(f) {
			if err := rs.stageExternal(f); err != nil {
				return err
			}
		}
	}
	if err := rs.stageShmFiles(); err != nil {
		return err
	}
	for _, id := range ids {
		if err := rs.staged(id); err != nil {
			return err
		}
	}
	if err := rs.closeHelpers(); err != nil {
		return err
	}
	if err := rs.finish(ids, func(f *image.File) bool { return f.Kind != image.EpollFD }); err != nil {
		return err
	}
	if err := rs.shutDown(); err != nil {
		return err
	}
	for _, do := range rs.afterwards {
		if err := do(); err != nil {
			return err
		}
	}
	// What epoll looks at is complete by now.
	if err := rs.finish(ids, func(f *image.File) bool { return f.Kind == image.EpollFD }); err != nil {
		return err
	}
	for _, id := range ids {
		if f := rs.img.File(id); len(f.Locks) > 0 {
			if err := rs.lockFile(f); err != nil {
				return rs.fileError(f, err)
			}
		}
	}
	return rs.checkRecords()
}

// finish completes those open files that are chosen.
func (rs *restarter) finish(ids []uint32, chosen func(*image.File) bool) error {
	for _, id := range ids {
		f := rs.img.File(id)
		k := fileStages[f.Kind]
		if k.finish == nil || rs.external(f) || !chosen(f) {
			continue
		}
		if err := k.finish(rs, f); err != nil {
			return rs.fileError(f, err)
		}
	}
	return nil
}

// closeSpare closes what a process of our making has inherited and does not
// need, so that staged files find their descriptors free.
func (rs *restarter) closeSpare(ids []uint32) error {
	if !rs.ownProcess {
		return nil
	}
	keep := []int{0, 1, 2} // a terminal may be among them
	for _, id := range ids {
		if n, ok := rs.first[id]; ok && n > 2 && rs.external(rs.img.File(id)) {
			keep = append(keep, n)
		}
	}
	if err := rs.root.closeAllBut(keep); err != nil {
		return err
	}
	var err error
	rs.root.fds, err = descriptors(rs.root.pid)
	return err
}

// fileError says which descriptor an error is about.
func (rs *restarter) fileError(f *image.File, err error) error {
	if n, ok := rs.first[f.ID]; ok {
		return fmt.Errorf("descriptor %d: %w", n, err)
	}
	return err
}

// firsts lists the open files of the tree by the lowest descriptor that each
// has, and notes that.
func (rs *restarter) firsts() []uint32 {
	rs.first, rs.closeOnExec = make(map[uint32]int), make(map[uint32]bool)
	for _, table := range rs.img.Tables {
		for _, fd := range table.FDs {
			n := int(fd.Number)
			if n >= rs.base {
				rs.base = n + 1
			}
			if low, ok := rs.first[fd.File]; !ok || n < low {
				rs.first[fd.File], rs.closeOnExec[fd.File] = n, fd.CloExec
			}
		}
	}
	ids, passed := make([]uint32, 0, len(rs.first)), make(map[uint32]bool)
	for id := range rs.first {
		ids = append(ids, id)
	}
	// Those that are on their way in a message have none.
	for _, s := range rs.img.Sockets {
		for _, m := range s.Messages {
			for _, id := range m.Files {
				if _, ok := rs.first[id]; !ok {
					passed[id] = true
				}
			}
		}
	}
	sort.Slice(ids, func(i, j int) bool {
		a, b := rs.first[ids[i]], rs.first[ids[j]]
		return a < b || a == b && ids[i] < ids[j]
	})
	first := len(ids)
	for id := range passed {
		ids = append(ids, id)
	}
	sort.Slice(ids[first:], func(i, j int) bool { return ids[first+i] < ids[first+j] })
	return ids
}

// cloexec is O_CLOEXEC if the lowest descriptor of an open file has it: then
// it is there already when the file is staged where it shall be.
func (rs *restarter) cloexec(f *image.File) uint32 {
	if rs.closeOnExec[f.ID] {
		return unix.O_CLOEXEC
	}
	return 0
}

// staged makes an open file if it has not been made.
func (rs *restarter) staged(id uint32) error {
	if _, ok := rs.files[id]; ok {
		return nil
	}
	f := rs.img.File(id)
	k := fileStages[f.Kind]
	if k == nil {
		return rs.fileError(f, fmt.Errorf("%w: kind %d of open file", image.ErrInvalid, f.Kind))
	}
	if err := k.stage(rs, f); err != nil {
		return rs.fileError(f, err)
	}
	return nil
}

// own gives a descriptor of this program for one of the root process.
func (rs *restarter) own(fd int) (int, error) { return pidfdGetfd(rs.pidfd, fd) }

// closePidfd closes what own needs.
func (rs *restarter) closePidfd() {
	if rs.pidfd > 0 {
		unix.Close(rs.pidfd)
	}
	rs.pidfd = 0
}

// helper notes a descriptor of the root process that is needed while others are
// staged only.
func (rs *restarter) helper(fd int) { rs.helpers = append(rs.helpers, fd) }

func (rs *restarter) closeHelpers() error {
	for _, fd := range rs.helpers {
		if _, err := rs.root.do(sysClose, fd); err != nil {
			return err
		}
	}
	rs.helpers = nil
	return nil
}

// external reports whether an open file leads out of the tree: whatever the
// caller has under the same descriptor stands in for it.
func (rs *restarter) external(f *image.File) bool {
	switch f.Kind {
	case image.TTY:
		return true
	case image.PipeEnd:
		return rs.img.Pipe(f.Object).External
	case image.SocketFD:
		s := rs.img.Socket(f.Object)
		return s.External && !s.TCP.Repair
	}
	return false
}

// stageExternal takes what stands in for an open file that led out of the
// tree.
func (rs *restarter) stageExternal(f *image.File) error {
	number, ok := rs.first[f.ID]
	if !ok {
		number = -1 // it is on its way in a message
	}
	if contains(rs.root.fds, number) {
		rs.files[f.ID] = number
		return nil
	}
	if f.Kind == image.TTY {
		return rs.otherTerminal(f)
	}
	return &RefusedError{PID: rs.root.pid, Kind: "descriptor", Object: fmt.Sprintf("%d %s", number, f.Path),
		Reason: "it led out of what was checkpointed, and is not open here to stand in for it",
		Hint:   "open it for the restart", Errno: unix.EBADF}
}

// stagePlaces opens the working directory and the program file of a process.
func (rs *restarter) stagePlaces(r *reborn) error {
	var err error
	if r.cwd, err = r.openDir(rs.img.FS(r.rec.FS).Cwd); err != nil {
		return fmt.Errorf("working directory %w", err)
	}
	if r.root, err = rs.openRoot(r, r.rec.FS); err != nil {
		return err
	}
	if err = rs.stageProcessFiles(r); err != nil {
		return err
	}
	if r.mm.Exe == 0 {
		return nil
	}
	f := rs.img.File(r.mm.Exe)
	r.exe, err = r.openPath(f.Path, unix.O_RDONLY|unix.O_CLOEXEC)
	if errors.Is(err, unix.EACCES) {
		r.exe = -1
		return nil // it may be executed without being readable
	}
	if err != nil {
		return fmt.Errorf("program %w", err)
	}
	return rs.checkIdentity(r, r.exe, f, true)
}

// seek sets the offset of an open file of a task.
func (r *reborn) seek(fd int, pos int64) error {
	t := r.leader()
	if t.abi.WordSize() == 8 {
		_, err := t.call(sysLseek, uint64(fd), uint64(pos), unix.SEEK_SET)
		return err
	}
	// _llseek takes the offset in two halves and writes the result.
	_, err := t.call(sysLseek, uint64(fd), uint64(pos)>>32, uint64(uint32(pos)), r.scratch, unix.SEEK_SET)
	return err
}

// raiseLimit lets the process have as many descriptors as it may, for staging.
func (rs *restarter) raiseLimit(r *reborn) error {
	var err error
	if r.limits, err = readLimits(r.pid); err != nil {
		return err
	}
	l := r.limits[unix.RLIMIT_NOFILE]
	if l.Cur == l.Max {
		return nil
	}
	t := r.leader()
	if err := t.home.add(sysPrlimit64, 0, unix.RLIMIT_NOFILE, layoutOf(t.abi).rlimit64(l), 0); err != nil {
		return err
	}
	return r.setLimit(unix.RLIMIT_NOFILE, image.Limit{Cur: l.Max, Max: l.Max})
}

// setLimit makes the process set a resource limit of its own.
func (r *reborn) setLimit(resource int, l image.Limit) error {
	_, err := r.do(sysPrlimit64, 0, resource, layoutOf(r.leader().abi).rlimit64(l), 0)
	return err
}

// rlimit64 lays out struct rlimit64.
func (l layout) rlimit64(v image.Limit) []byte {
	b := make([]byte, 16)
	l.order.PutUint64(b, v.Cur)
	l.order.PutUint64(b[8:], v.Max)
	return b
}

// closeAllBut closes the descriptors of a process but for those of an ascending
// list: a call for each gap of the list that has open ones.
func (r *reborn) closeAllBut(keep []int) error {
	open, err := descriptors(r.pid)
	if err != nil {
		return err
	}
	i := 0
	for len(open) > 0 {
		for i < len(keep) && keep[i] < open[0] {
			i++
		}
		if i < len(keep) && keep[i] == open[0] {
			open = open[1:]
			continue
		}
		n := 1
		for n < len(open) && (i == len(keep) || open[n] < keep[i]) {
			n++
		}
		if err := r.closeRange(open[:n]); err != nil {
			return err
		}
		open = open[n:]
	}
	return nil
}

// closeRange closes a list of descriptors that are open, ascending, and all
// between the first and the last.
func (r *reborn) closeRange(list []int) error {
	if len(list) > 1 {
		_, err := r.do(sysCloseRange, list[0], list[len(list)-1], 0)
		if !errors.Is(err, unix.ENOSYS) {
			return err
		}
	}
	for _, fd := range list {
		if _, err := r.do(sysClose, fd); err != nil {
			return err
		}
	}
	return nil
}

// commitPlaces gives a process its root and working directory.
func (rs *restarter) commitPlaces(r *reborn) error {
	if err := r.commitRoot(); err != nil {
		return err
	}
	if _, err := r.do(sysFchdir, r.cwd); err != nil {
		return err
	}
	_, err := r.do(sysUmask, rs.img.FS(r.rec.FS).Umask)
	return err
}

// commitFiles gives a process its descriptors.
func (rs *restarter) commitFiles(r *reborn) error {
	for _, o := range rs.list {
		if o == r {
			break
		}
		if o.rec.Files == r.rec.Files {
			return nil // it shares its table with one that has them
		}
	}
	table := rs.img.Table(r.rec.Files)
	if err := rs.placeFiles(r, table); err != nil {
		return err
	}
	want := make([]int, len(table.FDs))
	for i, fd := range table.FDs {
		want[i] = int(fd.Number)
	}
	sort.Ints(want)
	if err := r.closeAllBut(want); err != nil {
		return err
	}
	return rs.lockRecords(r, table)
}

// placeFiles puts the open files of a table at their descriptors.
func (rs *restarter) placeFiles(r *reborn, table *image.Files) error {
	flags := make(map[int]uint32, len(table.FDs))
	for _, fd := range table.FDs {
		n, flag := int(fd.Number), uint32(0)
		if fd.CloExec {
			flag = unix.O_CLOEXEC
		}
		if n != rs.fileAt(r, fd.File) {
			flags[n] = flag
			continue
		}
		if f := rs.img.File(fd.File); rs.external(f) || rs.cloexec(f) != flag {
			mode := 0
			if fd.CloExec {
				mode = unix.FD_CLOEXEC
			}
			if _, err := r.do(sysFcntl, n, unix.F_SETFD, mode); err != nil {
				return err
			}
		}
	}
	return arrange(rs.moves(r, table), func(from, to int) error {
		_, err := r.do(sysDup3, from, to, flags[to])
		return err
	}, func(fd int) (int, error) {
		up, err := r.do(sysFcntl, fd, unix.F_DUPFD_CLOEXEC, rs.base)
		return int(up), err
	})
}

// moves lists the open files of a table that are not where they shall be.
func (rs *restarter) moves(r *reborn, table *image.Files) []move {
	var moves []move
	for _, fd := range table.FDs {
		if n, from := int(fd.Number), rs.fileAt(r, fd.File); n != from {
			moves = append(moves, move{from, n})
		}
	}
	return moves
}

// checkNumbers makes sure that there is room for what placeFiles will do: that
// the limit allows all descriptors of the image, and those above for files that
// have to be put away.
func (rs *restarter) checkNumbers() error {
	limit := rs.root.limits[unix.RLIMIT_NOFILE].Max
	for _, r := range rs.tables() {
		table := rs.img.Table(r.rec.Files)
		if r.mm == nil || table == nil {
			continue
		}
		away, needed, moves := 0, 0, rs.moves(r, table)
		for _, m := range moves {
			if m.to >= needed {
				needed = m.to + 1
			}
		}
		err := arrange(moves, func(from, to int) error { return nil }, func(int) (int, error) {
			away++
			return math.MaxInt32 - away, nil // where nothing is
		})
		if err != nil {
			return err
		}
		if away > 0 {
			open, err := descriptors(r.pid)
			if err != nil {
				return err
			}
			needed = rs.base
			for i := sort.SearchInts(open, needed); away > 0; needed++ {
				if i < len(open) && open[i] == needed {
					i++
				} else {
					away--
				}
			}
		}
		if uint64(needed) > limit {
			return &RefusedError{PID: int(r.rec.PID), Kind: "limit", Object: strconv.Itoa(unix.RLIMIT_NOFILE),
				Reason: fmt.Sprintf("its descriptors take %d, here it is %d", needed, limit),
				Hint:   "raise the limit (ulimit -Hn)", Errno: unix.EMFILE}
		}
	}
	return nil
}

// move is the way of an open file from one descriptor to another.
type move struct{ from, to int }

// arrange makes moves, each to another place, in an order in which nothing is
// overwritten that is still to be moved. Where moves go in a circle, one place
// is put away first.
func arrange(moves []move, dup func(from, to int) error, away func(fd int) (int, error)) error {
	uses := make(map[int]int, len(moves))   // how many moves from a place are still to be made
	from := make(map[int][]int, len(moves)) // moves from a place
	into := make(map[int]int, len(moves))   // move that ends at a place
	for i, m := range moves {
		uses[m.from]++
		from[m.from] = append(from[m.from], i)
		into[m.to] = i
	}
	done := make([]bool, len(moves))
	makeMove := func(i int) error {
		// One move can free the place for the next.
		for {
			m := moves[i]
			if err := dup(m.from, m.to); err != nil {
				return err
			}
			done[i] = true
			uses[m.from]--
			next, ok := into[m.from]
			if !ok || done[next] || uses[m.from] > 0 {
				return nil
			}
			i = next
		}
	}
	for i := range moves {
		if !done[i] && uses[moves[i].to] == 0 {
			if err := makeMove(i); err != nil {
				return err
			}
		}
	}
	for i := range moves {
		if done[i] {
			continue
		}
		at := moves[i].to
		free, err := away(at)
		if err != nil {
			return err
		}
		for _, j := range from[at] {
			if !done[j] {
				moves[j].from = free
				uses[free]++
			}
		}
		uses[at] = 0
		if err := makeMove(i); err != nil {
			return err
		}
	}
	return nil
}

// fileAt is the descriptor that an open file has in a process that is being
// made.
func (rs *restarter) fileAt(r *reborn, id uint32) int {
	if fd, ok := r.late[id]; ok {
		return fd
	}
	return rs.files[id]
}

// procFD is the path of a descriptor of the task that opens it.
func procFD(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }
