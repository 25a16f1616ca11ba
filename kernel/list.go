package kernel

import (
	"fmt"

	"golang.org/x/sys/unix"

	"cr/regset"
)

// listSize is how much memory a list of calls has, in bytes.
const listSize = 4096

// callList is how a task makes many calls without a stop at each of them: code in
// the task works off a list that lies in its memory, and the last call of a list
// is tgkill(2), by which the task sends itself a signal, the marker. Its tracer is
// stopped for that, and takes the signal. nil where tasks make one call after
// the other, with a stop before and behind each.
type callList struct {
	mem  memory
	at   uint64 // where the list lies, listSize bytes
	code uint64 // the code; argument 6 is the address of the list
	end  uint64 // behind the system call instruction of the code
}

// marker is the signal that a task sends itself when it has made calls, and the
// task as it knows itself; the zero value is none.
type marker struct {
	sig      unix.Signal
	pid, tid uint32
}

// callMask is the signal mask of a task that makes calls.
func (t *task) callMask() uint64 {
	if t.marker.sig == 0 {
		return allSignals
	}
	return allSignals &^ (1 << (uint(t.marker.sig) - 1))
}

// markerOf chooses the marker of a task of a program that shall not notice it,
// even if the kernel side is killed: a signal that is ignored, by default or by
// the program, that is not blocked, and that no seccomp filter can make fail.
func (p *process) markerOf(t *task) marker {
	// The way back of powerpc restores no register that a list could go by.
	if p.mute || t.status.seccomp != 0 || t.jobStop || !hasLists(t.abi) || t.abi.IsPPC() {
		return marker{}
	}
	bit := func(sig unix.Signal) uint64 { return 1 << (uint(sig) - 1) }
	free := []unix.Signal{unix.SIGURG, unix.SIGWINCH, unix.SIGCHLD}
	for sig := unix.Signal(1); sig < 32; sig++ {
		if p.status.sigIgn&^jobSignals&bit(sig) != 0 {
			free = append(free, sig)
		}
	}
	for _, sig := range free {
		if (p.status.sigCgt|t.mask)&bit(sig) == 0 {
			return marker{sig, last(p.status.nstgid), last(t.status.nspid)}
		}
	}
	return marker{}
}

// sendMarker has a task send itself the marker, once, with stops before and behind
// the call. It comes when the task is let run the next time, and is ignored.
func (t *task) sendMarker() error {
	_, err := t.call(sysTgkill, uint64(t.marker.pid), uint64(t.marker.tid), uint64(t.marker.sig))
	return err
}

// jobSignals change whether a process is stopped when they are sent, before
// anybody can ignore them.
const jobSignals = 1<<(uint(unix.SIGCONT)-1) | 1<<(uint(unix.SIGTSTP)-1) | 1<<(uint(unix.SIGTTIN)-1) | 1<<(uint(unix.SIGTTOU)-1)

// hasLists reports whether there is code for lists of calls.
func hasLists(abi regset.ABI) bool {
	return !noLists && (abi.Machine == regset.EMX86_64 || abi.Machine == regset.EM386 || abi.IsPPC())
}

// noLists, set by tests only, has tasks make one call after the other.
var noLists bool

// A list is of entries of eight longs: the number of a call and one more, so
// that 0 is the end, six arguments, and the result.
const (
	entryLongs  = 8
	entryResult = 7
)

// mostListed is how many calls there are in a list, without the last.
func (l layout) mostListed() int { return listSize/(entryLongs*l.word) - 2 }

// callCode is the code that works off a list (undoX86_64 says why it changes no
// flags). It returns where it begins, and where its system call instruction ends.
func (a *assembler) callCode(abi regset.ABI) (start, end uint64) {
	start = a.here()
	if abi.IsPPC() {
		p := &ppcAssembler{*a}
		end = p.callCode()
		a.b = p.b
		return start, end
	}
	if abi == regset.I386 { // %ebp has the address
		a.code(0x8b, 0x4d, 0x00) // mov (%ebp), %ecx
		a.code(0xe3, 28)         // jecxz out
		a.code(0x8d, 0x41, 0xff) // lea -1(%ecx), %eax
		a.code(0x8b, 0x5d, 4)    // mov 4(%ebp), %ebx
		a.code(0x8b, 0x4d, 8)    // mov 8(%ebp), %ecx
		a.code(0x8b, 0x55, 12)   // mov 12(%ebp), %edx
		a.code(0x8b, 0x75, 16)   // mov 16(%ebp), %esi
		a.code(0x8b, 0x7d, 20)   // mov 20(%ebp), %edi
		a.code(0xcd, 0x80)       // int $0x80
		end = a.here()
		a.code(0x89, 0x45, 28) // mov %eax, 28(%ebp)
		a.code(0x8d, 0x6d, 32) // lea 32(%ebp), %ebp
		a.code(0xeb, 0x100-33) // jmp start
		return start, end
	}
	a.code(0x4c, 0x89, 0xcb) // mov %r9, %rbx
	a.code(0x48, 0x8b, 0x0b) // again: mov (%rbx), %rcx
	a.code(0xe3, 39)         // jrcxz out
	a.loadCallX86_64()
	a.code(0x0f, 0x05) // syscall
	end = a.here()
	a.code(0x48, 0x89, 0x43, 56)   // mov %rax, 56(%rbx)
	a.code(0x48, 0x8d, 0x5b, 0x40) // lea 64(%rbx), %rbx
	a.code(0xeb, 0x100-44)         // jmp again
	return start, end
}

// loadCallX86_64 loads the number and the arguments of the entry at %rbx, whose
// first long is in %rcx.
func (a *assembler) loadCallX86_64() {
	a.code(0x8d, 0x41, 0xff)     // lea -1(%rcx), %eax
	a.code(0x48, 0x8b, 0x7b, 8)  // mov 8(%rbx), %rdi
	a.code(0x48, 0x8b, 0x73, 16) // mov 16(%rbx), %rsi
	a.code(0x48, 0x8b, 0x53, 24) // mov 24(%rbx), %rdx
	a.code(0x4c, 0x8b, 0x53, 32) // mov 32(%rbx), %r10
	a.code(0x4c, 0x8b, 0x43, 40) // mov 40(%rbx), %r8
	a.code(0x4c, 0x8b, 0x4b, 48) // mov 48(%rbx), %r9
}

// trap raises SIGTRAP: int3, or trap.
func (a *assembler) trap(abi regset.ABI) {
	if abi.IsPPC() {
		a.imm32(0x7fe00008)
		return
	}
	a.code(0xcc)
}

// listed is a call of a list.
type listed struct {
	number int
	args   [6]uint64
}

// putCall lays out the entry of a call, without a result.
func (l layout) putCall(b []byte, c listed) {
	l.putLong(b, 0, uint64(c.number)+1)
	for n, v := range c.args {
		l.putLong(b, n+1, v)
	}
}

// callListed makes a task make calls, as many as a list has room for, and
// returns their results as the calls returned them.
func (t *task) callListed(calls []listed) ([]int64, error) {
	l := layoutOf(t.abi)
	entry := entryLongs * l.word
	b := make([]byte, (len(calls)+1)*entry+l.word)
	for i, c := range calls {
		l.putCall(b[i*entry:], c)
	}
	l.putCall(b[len(calls)*entry:], listed{sysTgkill.number(t.abi), [6]uint64{uint64(t.marker.pid), uint64(t.marker.tid), uint64(t.marker.sig)}})
	if err := t.list.mem.write(t.list.at, b); err != nil {
		return nil, err
	}
	if err := t.setOutFor(t.list.code, 0, [6]uint64{5: t.list.at}); err != nil {
		return nil, err
	}
	// A call of the list may end with the same signal from elsewhere, at the same
	// address.
	last := t.list.at + uint64(len(calls)*entry)
	err := t.toMarker(t.list.end, func(regs []byte) bool { return l.long(regs, listRegister(t.abi)) == last })
	if err != nil {
		return nil, err
	}
	if err := t.list.mem.read(t.list.at, b); err != nil {
		return nil, err
	}
	results := make([]int64, len(calls))
	for i := range results {
		results[i] = l.signed(b[i*entry:], entryResult)
	}
	return results, nil
}

// listRegister is the register in which the code for lists has the address of the
// entry whose call it makes, as numbered in NT_PRSTATUS.
func listRegister(abi regset.ABI) int {
	const rbx, ebp, r31 = 5, 5, 31
	switch {
	case abi.IsPPC():
		return r31
	case abi == regset.I386:
		return ebp
	}
	return rbx
}

// toMarker lets a task run until it has sent itself the marker, and is at an
// address, with registers that are asked about, if it matters. The same signal from
// elsewhere comes at another address or with other registers, and is ignored, as
// it would be without a tracer.
func (t *task) toMarker(end uint64, also func(regs []byte) bool) error {
	return t.runTo(unix.PTRACE_CONT, func(sig unix.Signal) (there, taken bool, err error) {
		if sig != t.marker.sig {
			return false, false, nil
		}
		regs, err := t.gprs()
		if err != nil {
			return false, true, err
		}
		return t.arch.PC(t.abi, regs) == end && (also == nil || also(regs)), true, nil
	})
}

// calls are system calls that a task is to make, of which none depends on the
// result of another, with what they read and write.
type calls struct {
	t    *task
	mem  memory
	at   uint64 // of the data, in the task's memory
	data []byte
	asks bool // calls write to the data
	list []deferred
}

type deferred struct {
	nr   sysno
	args []uint64
	done func(result uint64, err error) error
}

// callsOf begins a list of calls for a task, whose data lies in the scratch
// memory of its process.
func (p *process) callsOf(t *task) *calls { return &calls{t: t, mem: p.mem, at: p.scratch} }

// room reserves zeroed memory for a call, and returns its address.
func (c *calls) room(size int) uint64 {
	c.asks = true
	return c.put(make([]byte, size))
}

// put lays bytes for a call to read, and returns their address.
func (c *calls) put(b []byte) uint64 {
	at := c.at + uint64(len(c.data))
	c.data = append(c.data, b...)
	for len(c.data)%16 != 0 {
		c.data = append(c.data, 0)
	}
	return at
}

// bytes is the memory at an address, once the calls are made.
func (c *calls) bytes(at uint64, size int) []byte {
	return c.data[at-c.at:][:size]
}

// add adds a call. done gets its result when all are made, or its errno, a
// *CallError; if it is nil, an errno ends run.
func (c *calls) add(done func(result uint64, err error) error, nr sysno, args ...uint64) {
	c.list = append(c.list, deferred{nr, args, done})
}

// run makes the calls.
func (c *calls) run() error {
	most := uint64(scratchSize)
	if list := c.t.list; list != nil {
		most = list.at - c.at
	}
	if uint64(len(c.data)) > most {
		return fmt.Errorf("pid %d: %d bytes are too many for the arguments of calls", c.t.tid, len(c.data))
	}
	if len(c.data) > 0 {
		if err := c.mem.write(c.at, c.data); err != nil {
			return err
		}
	}
	results, errs, err := c.makeAll()
	if err != nil {
		return err
	}
	if c.asks {
		if err := c.mem.read(c.at, c.data); err != nil {
			return err
		}
	}
	for i, d := range c.list {
		if err := errs[i]; d.done != nil {
			if err := d.done(results[i], err); err != nil {
				return err
			}
		} else if err != nil {
			return err
		}
	}
	return nil
}

// makeAll makes the calls. Those that gave an errno have an error; the last is
// that of the task.
func (c *calls) makeAll() (results []uint64, errs []error, err error) {
	results, errs = make([]uint64, len(c.list)), make([]error, len(c.list))
	var list []listed
	var which []int
	flush := func() error {
		if len(list) == 0 {
			return nil
		}
		got, err := c.t.callListed(list)
		if err != nil {
			return err
		}
		for i, n := range which {
			results[n], errs[n] = c.t.result(c.list[n].nr, got[i])
		}
		list, which = list[:0], which[:0]
		return nil
	}
	for i, d := range c.list {
		if number := d.nr.number(c.t.abi); c.t.list != nil && number >= 0 && len(d.args) < 6 && failCall == nil {
			e := listed{number: number}
			copy(e.args[:], d.args)
			list, which = append(list, e), append(which, i)
			if len(list) == layoutOf(c.t.abi).mostListed() {
				if err := flush(); err != nil {
					return nil, nil, err
				}
			}
			continue
		}
		if err := flush(); err != nil {
			return nil, nil, err
		}
		if results[i], errs[i] = c.t.call(d.nr, d.args...); errs[i] != nil && !isErrno(errs[i]) {
			return nil, nil, errs[i]
		}
	}
	return results, errs, flush()
}
