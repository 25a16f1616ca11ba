package kernel

import (
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"

	"cr/image"
)

// setting is something that a task can set for itself, and ask for, by prctl(2)
// or arch_prctl(2).
type setting struct {
	name     string
	option   uint32 // that sets it: the one of the image
	get      uint32
	which    uint64 // first argument of both, where there is one
	hasWhich bool
	pointer  bool // get writes an int to where its argument points
	arch     bool // arch_prctl(2)
	mm       bool // of the memory: the leader sets it, last of all
	usual    uint64
	known    func(value uint64) (kept uint64, set bool) // nil: as it is
	optional bool                                       // where the machine has no such thing, it does without
	flags    uint64                                     // PF_* of the task, without which it is as usual; 0: ask
	takes    uint                                       // capability; 0 if none
}

// Options of prctl(2) and arch_prctl(2) that golang.org/x/sys lacks on some
// machines (include/uapi/linux/prctl.h, arch/x86/include/uapi/asm/prctl.h).
const (
	prGetTSC           = 25
	prSetTSC           = 26
	prMCEKill          = 33
	prMCEKillGet       = 34
	prMCEKillDefault   = 2
	prGetSpeculation   = 52
	prSetSpeculation   = 53
	prSetIOFlusher     = 57
	prGetIOFlusher     = 58
	prSetMDWE          = 65
	prGetMDWE          = 66
	prSetMemoryMerge   = 67
	prGetMemoryMerge   = 68
	archGetCPUID       = 0x1011
	archSetCPUID       = 0x1012
	speculationByPrctl = 1
	speculationOn      = 2

	pfMCEProcess   = 0x80 // include/linux/sched.h
	pfMemallocNoIO = 0x80000
)

// settings is the table of them. Numbers of speculation controls are those of
// PR_SPEC_*, in the upper half of the option.
var settings = []setting{
	{name: "machine check policy", option: prMCEKill, get: prMCEKillGet, which: 1, hasWhich: true, usual: prMCEKillDefault, flags: pfMCEProcess},
	{name: "time stamp counter", option: prSetTSC, get: prGetTSC, pointer: true, usual: 1},
	{name: "I/O flusher", option: prSetIOFlusher, get: prGetIOFlusher, flags: pfMemallocNoIO, takes: capSysResource},
	{name: "speculative store bypass", option: prSetSpeculation, get: prGetSpeculation, which: 0, hasWhich: true, known: speculation, optional: true},
	{name: "indirect branch speculation", option: prSetSpeculation | 1<<16, get: prGetSpeculation, which: 1, hasWhich: true, known: speculation, optional: true},
	{name: "L1D flush", option: prSetSpeculation | 2<<16, get: prGetSpeculation, which: 2, hasWhich: true, known: speculation, optional: true},
	{name: "cpuid instruction", option: archSetCPUID, get: archGetCPUID, arch: true, usual: 1},
	{name: "memory merge", option: prSetMemoryMerge, get: prGetMemoryMerge, mm: true, takes: capSysResource},
	{name: "memory deny write execute", option: prSetMDWE, get: prGetMDWE, mm: true},
}

// speculation is the state of a speculation control that a task has chosen
// itself.
func speculation(value uint64) (uint64, bool) {
	chosen := value &^ speculationByPrctl
	return chosen, value&speculationByPrctl != 0 && chosen != speculationOn
}

// choosable reports whether tasks of this machine have a choice about a kind of
// speculation.
func choosable(which uint64) bool {
	v, _, e := unix.Syscall6(unix.SYS_PRCTL, prGetSpeculation, uintptr(which), 0, 0, 0, 0)
	return e == 0 && v&speculationByPrctl != 0
}

// getArgs are the arguments of the call that asks for a setting, for a result
// at an address.
func (s *setting) getArgs(at uint64) []uint64 {
	args := []uint64{uint64(s.get), 0, 0, 0, 0}
	switch {
	case s.pointer:
		args[1] = at
	case s.hasWhich && s.get == prGetSpeculation:
		args[1] = s.which
	}
	return args
}

// setArgs are those of the call that sets it.
func (s *setting) setArgs(value uint64) []uint64 {
	args := []uint64{uint64(s.option & 0xffff), value, 0, 0, 0}
	if s.hasWhich {
		args[1], args[2] = s.which, value
	}
	return args
}

func (s *setting) call() sysno {
	if s.arch {
		return sysArchPrctl
	}
	return sysPrctl
}

// ownSettings saves what a task has set for itself by prctl(2) and its kin, and
// how its system calls become signals.
func (s *saver) ownSettings(p *process, c *calls, r *image.Task) error {
	t := c.t
	st, err := readStat(t.tid)
	if err != nil {
		return err
	}
	for i := range settings {
		set := &settings[i]
		switch {
		case set.mm && t != p.leader(), set.call().number(t.abi) < 0, set.flags != 0 && st.num(9)&set.flags == 0,
			set.known != nil && !choosable(set.which), set.option == archSetCPUID && keptCPU(t.tid) != nil:
			continue
		}
		at := c.room(4)
		c.add(func(value uint64, err error) error {
			if err != nil {
				return nil // the kernel or the machine has no such thing
			}
			if set.pointer {
				value = uint64(t.abi.Order().Uint32(c.bytes(at, 4)))
			}
			kept, changed := value, value != set.usual
			if set.known != nil {
				kept, changed = set.known(value)
			}
			if changed {
				r.Settings = append(r.Settings, image.Setting{Option: set.option, Value: kept})
			}
			return nil
		}, set.call(), set.getArgs(at)...)
	}
	r.Dispatch = t.dispatch
	r.IOPrio, err = readIOPrio(t.tid)
	return err
}

// isErrno reports whether a call of a task gave an errno.
func isErrno(err error) bool {
	var e *CallError
	return errors.As(err, &e)
}

func settingOf(option uint32) *setting {
	for i := range settings {
		if settings[i].option == option {
			return &settings[i]
		}
	}
	return nil
}

// trySettings finds out, before there is no way back, whether a process of our
// making may set what the tasks of the image had set.
func (rs *restarter) trySettings() error {
	for _, rec := range rs.img.Tasks {
		for _, v := range rec.Settings {
			set := settingOf(v.Option)
			if set == nil && v.Option == unix.PR_SET_SECCOMP {
				continue
			}
			if set == nil {
				return fmt.Errorf("%w: setting %d of task %d", image.ErrInvalid, v.Option, rec.TID)
			}
			if v.Option == archSetCPUID && v.Value == 0 && !CPUIDFaults() {
				return &RefusedError{PID: int(rec.TID), Kind: "task", Errno: unix.EOPNOTSUPP,
					Reason: "cpuid faults in it, which the CPU, or the kernel, does not have here"}
			}
			if set.takes != 0 && !rs.mayUse(set.takes) {
				if err := rs.lacks(rec, "it had set its "+set.name); err != nil {
					return err
				}
			}
		}
		const realTimeIO = 1 << 13 // IOPRIO_CLASS_RT
		if rec.IOPrio>>13 == realTimeIO>>13 && !rs.mayUse(capSysNice) && !rs.mayUse(capSysAdmin) {
			if err := rs.lacks(rec, "it had a real-time I/O priority"); err != nil {
				return err
			}
		}
	}
	if err := rs.tryOOMScore(rs.root); err != nil {
		return err
	}
	return rs.trySched(rs.root)
}

// mayUse reports whether the processes that are made have a capability over the
// whole machine.
func (rs *restarter) mayUse(capability uint) bool {
	return !rs.ownUsers && rs.root.status.creds.Effective>>capability&1 != 0
}

// commitOwnSettings sets what a task had set for itself: that of the memory or
// the rest.
func commitOwnSettings(c *calls, rec *image.Task, mm bool) {
	for _, v := range rec.Settings {
		set := settingOf(v.Option)
		if set == nil || set.mm != mm {
			continue
		}
		c.add(func(_ uint64, err error) error {
			switch {
			case err == nil, set.takes != 0 && refusedByKernel(err), set.optional && isErrno(err):
				return nil
			}
			return fmt.Errorf("%s: %w", set.name, err)
		}, set.call(), set.setArgs(v.Value)...)
	}
}

// Requests of ptrace(2) for what PR_SET_SYSCALL_USER_DISPATCH sets (Linux 6.4).
const (
	ptraceSetDispatch = 0x4210
	ptraceGetDispatch = 0x4211
)

// dispatchConfig is struct ptrace_sud_config.
type dispatchConfig struct{ mode, selector, offset, size uint64 }

// holdDispatch notes how the system calls of a task become signals, and ends
// it: the task is to make calls.
func (t *task) holdDispatch() error {
	c, err := t.readDispatch()
	if c.mode == 0 || err != nil {
		return err
	}
	t.dispatch = image.Dispatch{Mode: c.mode, Selector: c.selector, Offset: c.offset, Len: c.size}
	return t.setDispatch(image.Dispatch{})
}

func (t *task) readDispatch() (c dispatchConfig, err error) {
	err = ptrace(ptraceGetDispatch, t.tid, unsafe.Sizeof(c), uintptr(unsafe.Pointer(&c)))
	if errors.Is(err, unix.EIO) || errors.Is(err, unix.EINVAL) {
		return c, nil // a kernel that does not tell
	}
	if err != nil {
		return c, fmt.Errorf("pid %d: read its system call dispatch: %w", t.tid, err)
	}
	return c, nil
}

func (t *task) setDispatch(d image.Dispatch) error {
	c := dispatchConfig{d.Mode, d.Selector, d.Offset, d.Len}
	if err := ptrace(ptraceSetDispatch, t.tid, unsafe.Sizeof(c), uintptr(unsafe.Pointer(&c))); err != nil {
		return fmt.Errorf("pid %d: set its system call dispatch: %w", t.tid, err)
	}
	return nil
}
