package kernel

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"cr/image"
	"cr/regset"
)

// spool is a stream that can be read a second time, if that is asked for early
// enough: what has been read of it is kept until then.
type spool struct {
	r    io.Reader
	kept *os.File // nil if it is not kept
}

func newSpool(r io.Reader) (*spool, error) {
	fd, err := unix.MemfdCreate("cr-image", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("memfd_create: %w", err)
	}
	return &spool{r, os.NewFile(uintptr(fd), "cr-image")}, nil
}

func (s *spool) Read(b []byte) (int, error) {
	n, err := s.r.Read(b)
	if s.kept != nil && n > 0 {
		if _, e := s.kept.Write(b[:n]); e != nil {
			return n, e
		}
	}
	return n, err
}

// stop gives up what has been kept.
func (s *spool) stop() {
	if s.kept != nil {
		s.kept.Close()
		s.kept = nil
	}
}

// again gives what has been read so far from its beginning.
func (s *spool) again() (io.Reader, error) {
	_, err := s.kept.Seek(0, io.SeekStart)
	return s.kept, err
}

// rootKind is what the image's root process is by execve. Its descendants are
// made of it, so they must be the same.
func (rs *restarter) rootKind() (stubKind, error) {
	root := rs.img.Process(rs.img.Header.Root)
	if root == nil || root.State == image.Zombie {
		return stubKind{}, fmt.Errorf("%w: no root process", image.ErrInvalid)
	}
	for _, p := range rs.img.Processes {
		if p.State != image.Zombie && p.ELFv1 != root.ELFv1 {
			return stubKind{}, fmt.Errorf("pid %d: its signal handlers are of another ELF ABI than those of pid %d: %w",
				p.PID, root.PID, unix.EOPNOTSUPP)
		}
	}
	abi := rs.states[root.PID].ABI
	layout, err := rs.layout(abi)
	return stubKind{abi, root.ELFv1, layout}, err
}

// kind is what a held process is by execve.
func (p *process) kind() (stubKind, error) {
	abi := p.leader().abi
	v1, err := elfV1(p.pid, abi)
	if err != nil {
		return stubKind{}, err
	}
	layout, err := p.layout()
	return stubKind{abi, v1, layout}, err
}

// elfV1 reports whether the kernel takes a process's signal handlers for
// function descriptors, as its executable has it (SET_PERSONALITY in
// arch/powerpc/include/asm/elf.h).
func elfV1(pid int, abi regset.ABI) (bool, error) {
	if abi.Machine != regset.EMPPC64 {
		return false, nil
	}
	f, err := os.Open(procPath(pid, "exe"))
	if err != nil {
		return false, err
	}
	defer f.Close()
	const flagsAt, abiMask, v2 = 48, 3, 2
	var b [4]byte
	if _, err := f.ReadAt(b[:], flagsAt); err != nil {
		return false, fmt.Errorf("pid %d: ELF header of its executable: %w", pid, err)
	}
	return abi.Order().Uint32(b[:])&abiMask != v2, nil
}

// changeKind makes a held process of another word size, ELF ABI or layout than
// the image's root one that can become it: ptrace cannot change that, execve can. The
// process executes a stub of the right kind, and a restarter for it is returned
// that reads the image once more.
//
// There is no way back from execve. So all of the image is read before, and
// what depends on the process is tried in it and undone. An error that is
// errKilled says that the process is gone.
func (rs *restarter) changeKind(p *process, kind stubKind, stream *spool) (*restarter, error) {
	for {
		_, err := rs.rd.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
	}
	if err := rs.rehearse(p); err != nil {
		return nil, err
	}
	r, err := stream.again()
	if err != nil {
		return nil, err
	}
	o := rs.options
	o.Warn = nil // that has been said
	second, err := readImage(r, o)
	if err != nil {
		return nil, err
	}
	second.tree = rs.tree
	if err := rs.bind(p.tasks); err != nil {
		return nil, err
	}
	if err := rs.tree.execStub(p, kind); err != nil {
		return nil, err
	}
	return second, nil
}

// rehearse stages what the process of the caller decides on, and undoes it.
func (rs *restarter) rehearse(p *process) error {
	try := func() error {
		if err := rs.adopt(p, rs.img.Process(rs.img.Header.Root)); err != nil {
			return err
		}
		if err := rs.mayBecome(p); err != nil {
			return err
		}
		if err := rs.mayHaveFilters(p); err != nil {
			return err
		}
		return rs.stageFiles()
	}
	err := try()
	if err == nil {
		err = errRehearsed
	}
	if err = rs.undo(err); err != errRehearsed { // undo wraps it where it fails
		return err
	}
	if err := p.giveBack(); err != nil {
		return rs.abandon(err)
	}
	p.leader().home = nil
	return nil
}

var errRehearsed = errors.New("undo what was tried")

// execStub makes a held process execute a stub. Its other tasks end.
// If that fails the process is as it was, or has been killed (errKilled).
func (tr *tree) execStub(p *process, kind stubKind) error {
	elf, err := stubELF(kind)
	if err != nil {
		return err
	}
	if p.mem.f == nil {
		if p.mem, err = openMemory(p.pid); err != nil {
			return err
		}
	}
	if err := p.enter(); err != nil {
		return err
	}
	t := p.leader()
	fd, err := t.memfd(p, elf)
	if err == nil {
		err = tr.execWith(t, kind.layout, func() error { return tr.execFD(p, fd) })
	}
	if errors.Is(err, errGone) {
		return fmt.Errorf("%w: %v", errKilled, err)
	}
	if err != nil {
		e := error(nil)
		if fd >= 0 {
			_, e = t.call(sysClose, uint64(fd))
		}
		if e == nil {
			_, e = t.call(sysMunmap, p.scratch, scratchSize)
		}
		p.scratch = 0
		if e != nil {
			return fmt.Errorf("%w: %v\nand it cannot be undone: %v", errKilled, err, firstError(e, tr.kill()))
		}
		return err
	}
	p.scratch, p.tasks, p.areas = 0, p.tasks[:1], nil
	p.mem.close()
	p.mem = memory{}
	if p.status, err = readStatus(p.pid); err == nil {
		err = t.hold()
	}
	if err != nil {
		return fmt.Errorf("%w: %v", errKilled, firstError(err, tr.kill()))
	}
	return nil
}

// memfd gives a task a file that has the given contents and that execve closes.
// The descriptor is negative if there is none.
func (t *task) memfd(p *process, contents []byte) (fd int, err error) {
	if err := p.mem.write(p.scratch, []byte("cr-stub\x00")); err != nil {
		return -1, err
	}
	made, err := t.call(sysMemfdCreate, p.scratch, unix.MFD_CLOEXEC)
	if err != nil {
		return -1, err
	}
	for at := 0; at < len(contents); at += scratchSize {
		part := contents[at:]
		if len(part) > scratchSize {
			part = part[:scratchSize]
		}
		if err := p.mem.write(p.scratch, part); err != nil {
			return int(made), err
		}
		if _, err := t.call(sysWrite, made, p.scratch, uint64(len(part))); err != nil {
			return int(made), err
		}
	}
	return int(made), nil
}

// execFD makes the leader of a held process execute a file, and waits until it
// has. The other tasks, which die of it, are reaped, or execve would wait for
// them.
func (tr *tree) execFD(p *process, fd int) error {
	t := p.leader()
	if err := t.failed(sysExecveat); err != nil {
		return err
	}
	l := layoutOf(t.abi)
	const nameAt, emptyAt, argvAt, envAt = 0, 15, 16, 32
	b := make([]byte, 64)
	copy(b[nameAt:], "cr-stub")
	l.putLong(b[argvAt:], 0, p.scratch+nameAt)
	if err := p.mem.write(p.scratch, b); err != nil {
		return err
	}
	regs, err := t.gprs()
	if err != nil {
		return err
	}
	t.arch.SetSyscall(t.abi, regs, t.insn, sysExecveat.number(t.abi),
		[6]uint64{uint64(fd), p.scratch + emptyAt, p.scratch + argvAt, p.scratch + envAt, unix.AT_EMPTY_PATH})
	if err := t.setRegset(regset.PRSTATUS, regs); err != nil {
		return err
	}
	if err := t.toSyscallStop(); err != nil {
		return err
	}
	if err := ptrace(unix.PTRACE_SYSCALL, t.tid, 0, 0); err != nil {
		return err
	}
	var ws unix.WaitStatus
	for {
		tr.reapOthers(p)
		var got bool
		ws, got, err = waitFor(t.tid, unix.WNOHANG)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("wait for pid %d: %w", t.tid, err)
		}
		if got {
			break
		}
		time.Sleep(time.Millisecond)
	}
	if ws.Exited() || ws.Signaled() {
		t.stopped = false
		return fmt.Errorf("pid %d: %w", t.tid, errGone)
	}
	if ws.StopSignal() != syscallStop {
		return fmt.Errorf("pid %d: stop %#x in execve", t.tid, uint32(ws))
	}
	before := t.abi
	if regs, err = t.gprs(); err != nil {
		return err
	}
	if e := t.arch.Result(t.abi, regs); t.abi == before && e < 0 {
		return &CallError{t.tid, sysExecveat.String(), unix.Errno(-e)}
	}
	return nil
}

// reapOthers reaps those tasks of a process beyond its leader that have ended.
func (tr *tree) reapOthers(p *process) {
	for _, t := range p.tasks[1:] {
		if tr.tasks[t.tid] == nil {
			continue
		}
		ws, got, err := waitFor(t.tid, unix.WNOHANG)
		if errors.Is(err, unix.ECHILD) || got && (ws.Exited() || ws.Signaled()) {
			delete(tr.tasks, t.tid)
		}
	}
}
