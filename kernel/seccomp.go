package kernel

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"cr/image"
)

// Modes of seccomp(2), as /proc/PID/status has them.
const (
	seccompStrict = 1
	seccompFilter = 2
)

// Requests of ptrace(2) for filters, which take CAP_SYS_ADMIN.
const (
	ptraceGetFilter         = 0x420c
	ptraceGetFilterMetadata = 0x420d
)

// mayMakeCalls finds out of the tasks of a process whether they can be made to
// make calls: a seccomp filter could end them for it. Those whose filters can be
// put off are; others are refused, but for the one filter that gives the two
// calls.
func (s *saver) mayMakeCalls(p *process) (bool, error) {
	for _, t := range p.tasks {
		st := t.status
		if st.seccomp == 0 {
			continue
		}
		err := ptrace(unix.PTRACE_SETOPTIONS, t.tid, 0, freezeOptions|optSuspendSeccomp)
		switch {
		case err == nil:
			t.suspended = true
			continue
		case !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.EINVAL):
			return false, fmt.Errorf("pid %d: put off its seccomp filters: %w", t.tid, err)
		case st.seccomp == seccompFilter && st.filters == 1 && listenerAbove(p.pid):
			if err := p.borrow(t); err != nil {
				return false, err
			}
			ours, err := t.underEmulation()
			if err != nil {
				return false, err
			}
			if ours {
				continue
			}
		}
		what := fmt.Sprintf("it has %d seccomp filters", st.filters)
		if st.seccomp == seccompStrict {
			what = "it is in seccomp strict mode"
		}
		s.refuse(p, "task", strconv.Itoa(t.tid), what+", which takes CAP_SYS_ADMIN to save", "checkpoint as root")
		return false, nil
	}
	return true, nil
}

// listenerAbove reports whether this program or an ancestor of a process holds
// a listener of a seccomp filter: nobody else gives a process the two calls.
func listenerAbove(pid int) bool {
	if hasListener(os.Getpid()) {
		return true
	}
	for pid > 1 {
		st, err := readStatus(pid)
		if err != nil {
			return false
		}
		if pid = st.ppid; pid > 0 && hasListener(pid) {
			return true
		}
	}
	return false
}

func hasListener(pid int) bool {
	fds, err := descriptors(pid)
	if err != nil {
		return false
	}
	for _, fd := range fds {
		if link, err := os.Readlink(procPath(pid, "fd/"+strconv.Itoa(fd))); err == nil && strings.HasPrefix(link, "anon_inode:seccomp notify") {
			return true
		}
	}
	return false
}

// filters saves the seccomp filters of a task.
func (s *saver) filters(t *task, st *status, r *image.Task) error {
	if st.seccomp == 0 {
		return nil
	}
	p := s.tree.find(t.pid)
	if !t.suspended {
		s.img.Process(last(p.status.nstgid)).Calls = true // mayMakeCalls has asked
		return nil
	}
	if st.seccomp == seccompStrict {
		r.Settings = append(r.Settings, image.Setting{Option: unix.PR_SET_SECCOMP, Value: seccompStrict})
		return nil
	}
	ours, err := callsProgram(hostCalls)
	if err != nil {
		return err
	}
	withExec, err := callsProgram(ExecCalls()) // of cr run --cpu
	if err != nil {
		return err
	}
	withFault, err := callsProgram(FaultCalls()) // of the same, where cpuid faults
	if err != nil {
		return err
	}
	for i := 0; i < st.filters; i++ {
		f, err := t.filter(i)
		if errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM) {
			s.refuse(p, "task", strconv.Itoa(t.tid), "its seccomp filters take CAP_SYS_ADMIN to save", "checkpoint as root, outside of any container")
			return nil
		}
		if err != nil {
			return err
		}
		if bytes.Equal(f.Program, ours) || bytes.Equal(f.Program, withExec) || bytes.Equal(f.Program, withFault) {
			s.img.Process(last(p.status.nstgid)).Calls = true
			continue
		}
		if notifies(f.Program) {
			s.refuse(p, "task", strconv.Itoa(t.tid), "a seccomp filter of it asks another program (SECCOMP_RET_USER_NOTIF)",
				"checkpoint it without the program that supervises it")
			return nil
		}
		r.Filters = append(r.Filters, s.filterRecord(f))
	}
	return nil
}

// filterRecord gives the record of a filter, the same for equal ones.
func (s *saver) filterRecord(f *image.Seccomp) uint32 {
	for _, old := range s.img.Seccomps {
		if old.Flags == f.Flags && bytes.Equal(old.Program, f.Program) {
			return old.ID
		}
	}
	f.ID = s.newID()
	s.img.Seccomps = append(s.img.Seccomps, f)
	return f.ID
}

// filter reads a seccomp filter of a stopped task; 0 is the one that was
// installed first.
func (t *task) filter(i int) (*image.Seccomp, error) {
	n, err := ptraceResult(ptraceGetFilter, t.tid, uintptr(i), 0)
	if err != nil {
		return nil, fmt.Errorf("pid %d: read seccomp filter %d: %w", t.tid, i, err)
	}
	f := &image.Seccomp{Program: make([]byte, 8*n)}
	if n == 0 {
		return nil, fmt.Errorf("pid %d: seccomp filter %d is empty", t.tid, i)
	}
	if err := ptrace(ptraceGetFilter, t.tid, uintptr(i), uintptr(unsafe.Pointer(&f.Program[0]))); err != nil {
		return nil, fmt.Errorf("pid %d: read seccomp filter %d: %w", t.tid, i, err)
	}
	meta := struct{ filter, flags uint64 }{filter: uint64(i)}
	err = ptrace(ptraceGetFilterMetadata, t.tid, unsafe.Sizeof(meta), uintptr(unsafe.Pointer(&meta)))
	if err != nil {
		return nil, fmt.Errorf("pid %d: flags of seccomp filter %d: %w", t.tid, i, err)
	}
	f.Flags = meta.flags
	return f, nil
}

// notifies reports whether a filter can hand a call to a listener.
func notifies(program []byte) bool {
	const ret, fromK, action = 0x06, 0x18, 0xffff0000
	for i := 0; i+8 <= len(program); i += 8 {
		code, k := hostOrder.Uint16(program[i:]), hostOrder.Uint32(program[i+4:])
		if code&7 == ret && code&fromK == 0 && k&action == unix.SECCOMP_RET_USER_NOTIF {
			return true
		}
	}
	return false
}

// encodeProgram lays out instructions as struct sock_filter.
func encodeProgram(raw []bpf.RawInstruction) []byte {
	b := make([]byte, 8*len(raw))
	for i, r := range raw {
		at := b[8*i:]
		hostOrder.PutUint16(at, r.Op)
		at[2], at[3] = r.Jt, r.Jf
		hostOrder.PutUint32(at[4:], r.K)
	}
	return b
}

// callsProgram is the filter that hands calls to their kernel side.
func callsProgram(calls []Calls) ([]byte, error) {
	program, err := Filter(calls)
	if err != nil {
		return nil, err
	}
	raw, err := bpf.Assemble(program)
	if err != nil {
		return nil, err
	}
	return encodeProgram(raw), nil
}

// mayHaveFilters checks that tasks may be given the filters of the image.
func (rs *restarter) mayHaveFilters(p *process) error {
	for _, rec := range rs.img.Tasks {
		if len(rec.Filters) == 0 && !isStrict(rec) {
			continue
		}
		// The task installs them once it has the credentials of the image.
		if c := &rec.Creds; len(rec.Filters) > 0 && !c.NoNewPrivs && !p.status.creds.NoNewPrivs && c.Effective>>capSysAdmin&1 == 0 {
			return &RefusedError{PID: int(rec.TID), Kind: "task", Reason: "it had seccomp filters without no_new_privs, which takes CAP_SYS_ADMIN",
				Hint: "restart it from a process with no_new_privs", Errno: unix.EACCES}
		}
		if err := ptrace(unix.PTRACE_SETOPTIONS, p.leader().tid, 0, freezeOptions|rs.tree.options|optSuspendSeccomp); err != nil {
			return &RefusedError{PID: int(rec.TID), Kind: "task", Reason: "it had seccomp filters, which take CAP_SYS_ADMIN to put in place",
				Hint: "restart it as root", Errno: unix.EPERM}
		}
		if err := ptrace(unix.PTRACE_SETOPTIONS, p.leader().tid, 0, freezeOptions|rs.tree.options); err != nil {
			return err
		}
	}
	return rs.tryFilters()
}

// tryFilters has the kernel say whether it takes each chain of filters of the
// image, behind those that the caller has: a thread that ends again installs it
// (seccomp_check_filter and seccomp_attach_filter in kernel/seccomp.c).
func (rs *restarter) tryFilters() error {
	tried := make(map[string]bool)
	for _, rec := range rs.img.Tasks {
		chain := fmt.Sprint(rec.Filters, isStrict(rec))
		if len(rec.Filters) == 0 && !isStrict(rec) || tried[chain] {
			continue
		}
		tried[chain] = true
		if err := rs.tryChain(rec); err != nil {
			return err
		}
	}
	return nil
}

func (rs *restarter) tryChain(rec *image.Task) error {
	r := rs.root
	t, err := r.clone(r.leader(), threadFlags, 0, 0)
	if err != nil {
		return fmt.Errorf("a thread to try seccomp filters in: %w", err)
	}
	r.tasks = append(r.tasks, t) // undo ends it
	rs.tree.tasks[t.tid] = t
	if err := ptrace(unix.PTRACE_SETOPTIONS, t.tid, 0, freezeOptions|rs.tree.options|optSuspendSeccomp); err != nil {
		return fmt.Errorf("put off seccomp filters: %w", err)
	}
	// Whether the task that will have them may install them is known by now.
	if _, err := t.call(sysPrctl, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	if err := rs.installChain(r, t, rec); err != nil {
		var refused *CallError
		if errors.As(err, &refused) {
			return &RefusedError{PID: int(rec.TID), Kind: "task", Reason: "this kernel does not take its seccomp filters: " + refused.Error(),
				Hint: "restart it on a kernel like the one that it was on, with fewer filters around it", Errno: refused.Errno}
		}
		return err
	}
	return rs.undoThreads(r)
}

// installChain makes a task install all filters that the image has for it.
func (rs *restarter) installChain(r *reborn, t *task, rec *image.Task) error {
	for _, id := range rec.Filters {
		if err := rs.installFilter(r, t, id, 0); err != nil {
			return err
		}
	}
	return setStrict(t, rec)
}

// setStrict has a task enter seccomp strict mode if it was in that.
func setStrict(t *task, rec *image.Task) error {
	if !isStrict(rec) {
		return nil
	}
	_, err := t.call(sysPrctl, unix.PR_SET_SECCOMP, seccompStrict, 0, 0, 0)
	return err
}

func isStrict(rec *image.Task) bool {
	for _, v := range rec.Settings {
		if v.Option == unix.PR_SET_SECCOMP {
			return true
		}
	}
	return false
}

// commitFilters installs the seccomp filters of the tasks of a process. They are
// put off until the tasks run.
func (rs *restarter) commitFilters(r *reborn) error {
	records := rs.img.TasksOf(r.rec)
	common := len(records[0].Filters)
	any := false
	for i, rec := range records {
		if len(rec.Filters) == 0 && !isStrict(rec) {
			common = 0
			continue
		}
		any = true
		if err := ptrace(unix.PTRACE_SETOPTIONS, r.tasks[i].tid, 0, freezeOptions|rs.tree.options|optSuspendSeccomp); err != nil {
			return fmt.Errorf("put off seccomp filters: %w", err)
		}
		n := 0
		for n < common && n < len(rec.Filters) && rec.Filters[n] == records[0].Filters[n] {
			n++
		}
		common = n
	}
	if !any {
		return nil
	}
	// Those that all threads have are one chain, which they can go on to extend
	// together (SECCOMP_FILTER_FLAG_TSYNC).
	for _, id := range records[0].Filters[:common] {
		if err := rs.installFilter(r, r.leader(), id, unix.SECCOMP_FILTER_FLAG_TSYNC); err != nil {
			return err
		}
	}
	for i, rec := range records {
		for _, id := range rec.Filters[common:] {
			if err := rs.installFilter(r, r.tasks[i], id, 0); err != nil {
				return err
			}
		}
		if err := setStrict(r.tasks[i], rec); err != nil {
			return err
		}
	}
	return nil
}

func (rs *restarter) installFilter(r *reborn, t *task, id uint32, flags uint64) error {
	f := rs.img.Seccomp(id)
	_, err := rs.installProgram(r.process, t, f.Program, flags|f.Flags&unix.SECCOMP_FILTER_FLAG_LOG)
	if err != nil {
		return fmt.Errorf("seccomp filter: %w", err)
	}
	return nil
}

// installProgram makes a task install a filter.
func (rs *restarter) installProgram(p *process, t *task, program []byte, flags uint64) (uint64, error) {
	lay := layoutOf(t.abi)
	const filterAt = 64
	b := make([]byte, filterAt, filterAt+len(program))
	lay.order.PutUint16(b, uint16(len(program)/8)) // struct sock_fprog
	lay.putLong(b, 1, p.scratch+filterAt)
	if err := p.mem.write(p.scratch, append(b, program...)); err != nil {
		return 0, err
	}
	return t.call(sysSeccomp, unix.SECCOMP_SET_MODE_FILTER, flags, p.scratch)
}
