package selftest

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"syscall"
	"unsafe"

	"cr/regset"
)

const (
	ptracePokeUser   = 6
	ptraceCont       = 7
	ptraceGetSiginfo = 0x4202

	// powerpc (arch/powerpc/include/uapi/asm/ptrace.h)
	ptraceGetDebugreg = 25
	ptraceSetDebugreg = 26
)

// breakpoint is a hardware breakpoint that the test sets: on a write to the
// variable watched, or on the instruction at stored.
type breakpoint int

const (
	onWrite breakpoint = iota
	onExecute
)

// debugCase checks that debug registers are saved and restored. What the
// registers make of the original they must make of the restarted task: some
// emulated CPUs never take the trap.
func debugCase(abi regset.ABI) Case {
	c := Case{Name: "debug", Tests: []Test{
		{"write", func(t *T) { t.debugTest(abi, onWrite) }},
	}}
	if !abi.IsPPC() {
		c.Tests = append(c.Tests, Test{"execute", func(t *T) { t.debugTest(abi, onExecute) }})
	}
	return c
}

func (t *T) debugTest(abi regset.ABI, b breakpoint) {
	r := t.registers(debugClass, abi)
	image := t.file("image")
	original := t.start(r.prog.class, r.argv("spin"))
	r.atSpin(original)
	var set []uint64
	err := stopped(original.pid(), func() (err error) {
		if err = setBreakpoint(original.pid(), r.prog, b); err == nil {
			set, err = debugRegisters(original.pid())
		}
		return err
	})
	if errors.Is(err, syscall.ENODEV) {
		t.Skipf("the kernel has no data breakpoint: %v", err)
	}
	t.must(err)
	const access = 3 // read and write, in a DABR
	if abi.IsPPC() && set[0]&access == 0 {
		t.Skipf("BookE: the kernel does not tell whether reads or writes are watched (%#x), so it cannot be saved", set[0])
	}
	t.start("cr checkpoint", t.cr("checkpoint", fmt.Sprint(original.pid()), "-o", image)).succeed()
	trapped := t.watch("original", original, original.pid(), r.prog, b, set)
	r.check("original", original.out.Bytes(), patternP, 0)
	if !trapped {
		t.Logf("this machine takes no trap: only the contents of the registers %x are compared", set)
	}

	restart := t.start("cr restart", t.cr("restart", image))
	pid := restart.task(r.prog)
	t.must(awaitSpin(pid, r.prog, t.limit))
	if again := t.watch("restarted", restart, pid, r.prog, b, set); again != trapped {
		t.Errorf("the original trapped: %t; the restarted task trapped: %t", trapped, again)
	}
	r.check("restarted", restart.out.Bytes(), patternP, 0)
}

// watch compares the debug registers of a spinning task, releases it and waits
// for the trap or for its end. It reports whether there was a trap.
func (t *T) watch(who string, p *process, pid int, prog *program, b breakpoint, want []uint64) (trapped bool) {
	err := stopped(pid, func() error {
		got, err := debugRegisters(pid)
		if err != nil {
			return err
		}
		for i := range want {
			if got[i] != want[i] {
				t.Errorf("%s: %s: want %x got %x", who, debugNames()[i], want[i], got[i])
			}
		}
		if err := release(pid, prog); err != nil {
			return err
		}
		if err := ptrace(ptraceCont, pid, 0, 0); err != nil {
			return err
		}
		if err := waitStop(pid); err != nil {
			return err
		}
		trapped = true
		if err := t.checkTrap(who, pid, prog, b); err != nil {
			return err
		}
		return clearBreakpoints(pid)
	})
	if errors.Is(err, errExited) && !trapped {
		// A tracer that is not the parent must take note before the parent can.
		if parent, ok := parentOf(pid); ok && parent != os.Getpid() {
			_, err = syscall.Wait4(pid, nil, waitAll, nil)
		} else {
			err = nil
		}
	}
	t.must(err)
	p.succeed()
	return trapped
}

// checkTrap checks that the stop is the one that the breakpoint makes.
func (t *T) checkTrap(who string, pid int, prog *program, b breakpoint) error {
	var info [128]byte
	if err := ptrace(ptraceGetSiginfo, pid, 0, uintptr(unsafe.Pointer(&info))); err != nil {
		return err
	}
	const hardwareBreakpoint = 4 // TRAP_HWBKPT
	signo, code := *(*int32)(unsafe.Pointer(&info[0])), *(*int32)(unsafe.Pointer(&info[8]))
	if syscall.Signal(signo) != syscall.SIGTRAP || code != hardwareBreakpoint {
		t.Errorf("%s: stopped by signal %d, code %d", who, signo, code)
	}
	wordSize := unsafe.Sizeof(uintptr(0))
	at := uint64(*(*uintptr)(unsafe.Pointer(&info[8+wordSize])))
	if prog.abi.IsPPC() {
		if want := prog.symbol("watched"); at != want {
			t.Errorf("%s: trap at %#x, watched is at %#x", who, at, want)
		}
		return nil
	}
	if b == onExecute && at != prog.symbol("stored") {
		t.Errorf("%s: trap at %#x, stored is at %#x", who, at, prog.symbol("stored"))
	}
	dr6, err := peekUser(pid, debugOffset(6))
	if hit := uint64(1) << uint(b); err == nil && dr6&0xf != hit {
		t.Errorf("%s: DR6 %#x, want bit %#x", who, dr6, hit)
	}
	return err
}

// debugOffset is the offset of u_debugreg[i] in x86's struct user, which is
// that of the tracer.
func debugOffset(i int) uintptr {
	if runtime.GOARCH == "amd64" {
		return uintptr(848 + 8*i)
	}
	return uintptr(252 + 4*i)
}

// setBreakpoint sets a breakpoint: by DR0 or DR1 and DR7, or by the DABR.
func setBreakpoint(pid int, prog *program, b breakpoint) error {
	watched := prog.symbol("watched")
	if prog.abi.IsPPC() {
		const write, translate = 2, 4
		// BookE's DAC has no translation bit: it would be one of the address.
		// The others take no value without it.
		err := ptrace(ptraceSetDebugreg, pid, 0, uintptr(watched|write))
		if errors.Is(err, syscall.EIO) {
			err = ptrace(ptraceSetDebugreg, pid, 0, uintptr(watched|write|translate))
		}
		return err
	}
	// DR7: enable bits L0 and L1 at 0 and 2; condition and length from 16 on.
	const writes, length4, length8 = 1, 3 << 2, 2 << 2
	addr, control := watched, uint64(1|(writes|length4)<<16)
	switch {
	case b == onExecute:
		addr, control = prog.symbol("stored"), 1<<2
	case prog.abi.WordSize() == 8:
		control = 1 | (writes|length8)<<16
	}
	if err := ptrace(ptracePokeUser, pid, debugOffset(int(b)), uintptr(addr)); err != nil {
		return err
	}
	return ptrace(ptracePokeUser, pid, debugOffset(7), uintptr(control))
}

// clearBreakpoints turns the breakpoints off.
func clearBreakpoints(pid int) error {
	switch runtime.GOARCH {
	case "amd64", "386":
		return ptrace(ptracePokeUser, pid, debugOffset(7), 0)
	}
	return ptrace(ptraceSetDebugreg, pid, 0, 0)
}

// debugNames are the names of what debugRegisters returns.
func debugNames() []string {
	switch runtime.GOARCH {
	case "amd64", "386":
		return []string{"dr0", "dr1", "dr2", "dr3", "dr7"}
	}
	return []string{"dabr"}
}

// debugRegisters reads the registers that hold breakpoints.
func debugRegisters(pid int) ([]uint64, error) {
	switch runtime.GOARCH {
	case "amd64", "386":
		var regs []uint64
		for _, i := range []int{0, 1, 2, 3, 7} {
			v, err := peekUser(pid, debugOffset(i))
			if err != nil {
				return nil, err
			}
			regs = append(regs, v)
		}
		return regs, nil
	}
	var v uintptr
	err := ptrace(ptraceGetDebugreg, pid, 0, uintptr(unsafe.Pointer(&v)))
	runtime.KeepAlive(&v)
	return []uint64{uint64(v)}, err
}
