package kernel

import (
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"cr/image"
)

func isFIFO(d *openDescriptor) bool { return d.st.Mode&unix.S_IFMT == unix.S_IFIFO }

func isPipe(d *openDescriptor) bool { return isFIFO(d) && strings.HasPrefix(d.file.Path, "pipe:[") }

// savePipe saves one end of a pipe.
func savePipe(s *saver, d *openDescriptor) error {
	p, err := s.pipe(d)
	if err != nil {
		return err
	}
	d.file.Object = p.ID
	return nil
}

// saveFIFO saves an open file of a named pipe. What is in the pipe is saved if
// the tree has it open for reading.
func saveFIFO(s *saver, d *openDescriptor) error {
	named, err := isNamed(d)
	if err != nil {
		return err
	}
	if !named {
		s.refuseFile(d, "a named pipe whose name is gone, or leads to another file", "close it first")
		return nil
	}
	return savePipe(s, d)
}

// pipe gives the record of a pipe.
func (s *saver) pipe(d *openDescriptor) (*image.Pipe, error) {
	r := s.pipes[d.inode()]
	if r == nil {
		r = &image.Pipe{ID: s.newID()}
		if s.pipes == nil {
			s.pipes = make(map[fileID]*image.Pipe)
		}
		s.pipes[d.inode()] = r
		s.img.Pipes = append(s.img.Pipes, r)
	}
	if d.access() == unix.O_WRONLY && r.Capacity != 0 || r.Data != nil {
		return r, nil
	}
	own, err := d.dup()
	if err != nil {
		return nil, err
	}
	size, err := unix.FcntlInt(uintptr(own), unix.F_GETPIPE_SZ, 0)
	if err != nil {
		return nil, fmt.Errorf("size of the pipe: %w", err)
	}
	r.Capacity = uint32(size)
	if d.access() == unix.O_WRONLY {
		return r, nil
	}
	if r.Data, err = peekPipe(own, size); err != nil {
		return nil, err
	}
	return r, nil
}

// peekPipe reads what a pipe holds and leaves it there.
func peekPipe(fd, size int) ([]byte, error) {
	filled, err := unix.IoctlGetInt(fd, unix.TIOCINQ)
	if err != nil {
		return nil, fmt.Errorf("contents of the pipe: %w", err)
	}
	if filled == 0 {
		return nil, nil
	}
	var copied [2]int
	if err := unix.Pipe2(copied[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return nil, err
	}
	defer unix.Close(copied[0])
	defer unix.Close(copied[1])
	if _, err := unix.FcntlInt(uintptr(copied[1]), unix.F_SETPIPE_SZ, size); err != nil {
		return nil, fmt.Errorf("make room for a pipe's contents: %w", err)
	}
	// unix.Tee of golang.org/x/sys takes a result of 64 bits from 32-bit kernels.
	n, _, e := unix.Syscall6(unix.SYS_TEE, uintptr(fd), uintptr(copied[1]), uintptr(size), unix.SPLICE_F_NONBLOCK, 0, 0)
	if e == unix.EAGAIN || n == 0 && e == 0 {
		return nil, nil
	}
	if e != 0 {
		return nil, fmt.Errorf("contents of the pipe: %w", e)
	}
	data := make([]byte, n)
	for at := 0; at < len(data); {
		n, err := unix.Read(copied[0], data[at:])
		if err != nil {
			return nil, err
		}
		at += n
	}
	return data, nil
}

// ends marks the pipes that lead out of the tree: those of which the tree does
// not hold both ends.
func (s *saver) ends() {
	type pair struct{ read, write, named, packets bool }
	held := make(map[uint32]pair)
	for _, f := range s.img.Files {
		if f.Kind != image.PipeEnd && f.Kind != image.FIFO {
			continue
		}
		e := held[f.Object]
		switch f.Flags & unix.O_ACCMODE {
		case unix.O_RDONLY:
			e.read = true
		case unix.O_WRONLY:
			e.write = true
		default:
			e.read, e.write = true, true
		}
		e.packets = e.packets || f.Flags&unix.O_DIRECT != 0
		e.named = e.named || f.Kind == image.FIFO
		held[f.Object] = e
	}
	for _, p := range s.img.Pipes {
		e := held[p.ID]
		if p.External = !e.named && (!e.read || !e.write); p.External {
			p.Data = nil
		}
		if e.packets && len(p.Data) > 0 {
			s.refuse(s.tree.processes[0], "pipe", "", "it holds packets (O_DIRECT) that were not read", "try again when they are")
		}
	}
}

// passedOutside refuses files that lead out of the tree and are on their way in
// a message: nothing could stand in for them.
func (s *saver) passedOutside() {
	for _, k := range s.socketList {
		for _, m := range k.rec.Messages {
			for _, id := range m.Files {
				f := s.img.File(id)
				if f.Kind == image.PipeEnd && s.img.Pipe(f.Object).External || f.Kind == image.SocketFD && s.img.Socket(f.Object).External {
					s.refuseFile(k.d, "a descriptor that leads to a process outside is on its way in a message in its queue", "try again when it is read")
				}
			}
		}
	}
}

// stagePipeEnd makes a pipe, for one open file of each of its ends. Others are
// opened from those, to be open files of their own, as they were.
func (rs *restarter) stagePipeEnd(f *image.File) error {
	ends, made := rs.pipes[f.Object]
	if !made {
		var err error
		if ends, err = rs.makePipe(f.Object); err != nil {
			return err
		}
		if _, ok := rs.files[f.ID]; ok {
			return nil
		}
	}
	end := ends[0]
	if f.Flags&unix.O_ACCMODE == unix.O_WRONLY {
		end = ends[1]
	}
	fd, err := rs.root.openPath(procFD(end), rs.reopenFlags(f))
	if err != nil {
		return err
	}
	rs.files[f.ID] = fd
	return nil
}

// pipeEnds finds the first open file of each end of a pipe.
func (rs *restarter) pipeEnds(id uint32) [2]*image.File {
	if rs.pipeFiles == nil {
		rs.pipeFiles = make(map[uint32][2]*image.File)
		for _, f := range rs.img.Files {
			mode := f.Flags & unix.O_ACCMODE
			if f.Kind != image.PipeEnd || mode == unix.O_RDWR {
				continue
			}
			ends := rs.pipeFiles[f.Object]
			if ends[mode] == nil {
				ends[mode] = f
				rs.pipeFiles[f.Object] = ends
			}
		}
	}
	return rs.pipeFiles[id]
}

// makePipe makes a pipe with what is in it.
func (rs *restarter) makePipe(id uint32) ([2]int, error) {
	var ends [2]int
	files := rs.pipeEnds(id)
	common := ^uint32(0)
	for _, f := range files {
		if f != nil {
			common &= f.Flags&settable&^unix.O_APPEND | rs.cloexec(f)
		} else {
			common &^= settable
		}
	}
	b := make(out, 8)
	if _, err := rs.root.do(sysPipe2, b, common&(settable|unix.O_CLOEXEC)); err != nil {
		return ends, err
	}
	order := rs.root.leader().abi.Order()
	for i, f := range files {
		ends[i] = int(order.Uint32(b[4*i:]))
		if f == nil {
			rs.helper(ends[i])
			continue
		}
		rs.files[f.ID] = ends[i]
		if flags := f.Flags & settable; flags != common&settable {
			if _, err := rs.root.do(sysFcntl, ends[i], unix.F_SETFL, flags); err != nil {
				return ends, err
			}
		}
		if flag := rs.cloexec(f); flag != common&unix.O_CLOEXEC {
			if _, err := rs.root.do(sysFcntl, ends[i], unix.F_SETFD, unix.FD_CLOEXEC); err != nil {
				return ends, err
			}
		}
	}
	rs.pipes[id] = ends
	return ends, rs.fillPipe(ends[1], rs.img.Pipe(id))
}

// fillPipe gives a pipe its size and contents.
func (rs *restarter) fillPipe(end int, p *image.Pipe) error {
	const usual = 64 << 10 // of a new pipe
	if p.Capacity != usual && p.Capacity != 0 {
		if _, err := rs.root.do(sysFcntl, end, unix.F_SETPIPE_SZ, p.Capacity); err != nil {
			return fmt.Errorf("size of a pipe: %w", err)
		}
	}
	if len(p.Data) == 0 {
		return nil
	}
	fd, err := rs.own(end)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if err != nil {
		return err
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		return err
	}
	for at := 0; at < len(p.Data); {
		n, err := rs.options.as.do(func() (int, error) { return unix.Write(fd, p.Data[at:]) })
		if err != nil {
			return fmt.Errorf("contents of a pipe: %w", err)
		}
		at += n
	}
	_, err = unix.FcntlInt(uintptr(fd), unix.F_SETFL, flags)
	return err
}

// stageFIFO opens a named pipe. It is opened for reading and writing first, so
// that no open waits for another party.
func (rs *restarter) stageFIFO(f *image.File) error {
	if err := rs.checkKind(f); err != nil {
		return err
	}
	both, err := rs.root.openPath(f.Path, unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC)
	if err != nil {
		return err
	}
	rs.helper(both)
	if err := rs.checkIdentity(rs.root, both, f, false); err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Stat(procPath(rs.root.pid, "fd/"+strconv.Itoa(both)), &st); err != nil {
		return fmt.Errorf("%s: %w", f.Path, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFIFO {
		// Its contents are not to be written to anything else.
		return rs.changed(f, "it is no FIFO, as it was said to be")
	}
	fd, err := rs.root.openPath(procFD(both), rs.reopenFlags(f))
	if err != nil {
		return err
	}
	rs.files[f.ID] = fd
	if _, ok := rs.pipes[f.Object]; ok || f.Object == 0 {
		return nil
	}
	rs.pipes[f.Object] = [2]int{both, both}
	p := rs.img.Pipe(f.Object)
	if len(p.Data) == 0 {
		return nil
	}
	own, err := rs.own(both)
	if err != nil {
		return err
	}
	defer unix.Close(own)
	if n, err := unix.IoctlGetInt(own, unix.TIOCINQ); err != nil || n > 0 {
		return err // somebody has kept it, and what was in it
	}
	return rs.fillPipe(both, p)
}
