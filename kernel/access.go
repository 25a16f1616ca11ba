package kernel

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"cr/image"
)

// An AccessError says why a caller may not checkpoint a process. It is
// unix.EPERM.
type AccessError struct {
	Caller, Target int // pids
	Reason         string
}

// Error names both and the reason.
func (e *AccessError) Error() string {
	return fmt.Sprintf("pid %d may not checkpoint pid %d: %s", e.Caller, e.Target, e.Reason)
}

// Unwrap returns unix.EPERM.
func (e *AccessError) Unwrap() error { return unix.EPERM }

// party is a task as the rules of access see it.
type party struct {
	tid, tgid int
	creds     image.Creds
	userns    nsID
}

func readParty(tid int) (*party, error) {
	s, err := readStatus(tid)
	if err != nil {
		return nil, err
	}
	ns, err := namespaceOf(tid, "user")
	if errors.Is(err, fs.ErrNotExist) {
		if _, e := os.Stat("/proc/self/ns/user"); errors.Is(e, fs.ErrNotExist) {
			err = nil // a kernel without user namespaces: all tasks are in one
		} else {
			err = fmt.Errorf("pid %d: %w", tid, unix.ESRCH)
		}
	}
	if err != nil {
		return nil, err
	}
	return &party{tid, s.tgid, s.creds, ns}, nil
}

// mayTrace makes the check that the kernel makes before one task may trace
// another, ptrace_may_access(PTRACE_MODE_ATTACH_REALCREDS) (ptrace(2)), for the
// caller of a checkpoint instead of for the kernel side, which may have more
// authority. It is nil, or an *AccessError, or says why the check cannot be made.
//
// What the kernel does not tell is held against the caller: exceptions made by
// PR_SET_PTRACER. Security modules other than Yama are asked by the kernel only,
// and only about the kernel side.
func mayTrace(callerTID, targetTID int) error {
	caller, err := readParty(callerTID)
	if err != nil {
		return err
	}
	s, err := readStatus(targetTID)
	if err != nil {
		return err
	}
	if s.tgid == caller.tgid {
		return nil
	}
	refuse := func(reason string) error { return &AccessError{caller.tgid, targetTID, reason} }
	target, err := readParty(targetTID)
	if errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM) {
		return refuse("the kernel side itself may not")
	}
	if err != nil {
		return err
	}
	capable, err := caller.mayTraceIn(target)
	if err != nil || capable {
		return err
	}
	known, err := allIDsMapped()
	if err != nil {
		return err
	}
	if !sameIDs(&caller.creds, &target.creds, known) {
		return refuse("it belongs to another user or group")
	}
	user, err := dumpable(target)
	if err != nil {
		return err
	}
	if !user {
		return refuse("it is not dumpable")
	}
	if target.userns != caller.userns {
		return refuse("it is in another user namespace")
	}
	if target.creds.Permitted&^caller.creds.Permitted != 0 {
		return refuse("it has capabilities that the caller lacks")
	}
	scope, err := yamaScope()
	if err != nil {
		return err
	}
	if scope >= 2 {
		return refuse(fmt.Sprintf("kernel.yama.ptrace_scope is %d", scope))
	}
	if scope == 1 {
		descends, err := isDescendant(target.tgid, caller.tgid)
		if err != nil {
			return err
		}
		if !descends {
			return refuse("it is no descendant of the caller, and kernel.yama.ptrace_scope is 1")
		}
	}
	return nil
}

// sameIDs is the rule of user and group: the caller's real ids are all three
// ids of the target. Ids that have no name in this program's user namespace all
// look the same, so they match nothing.
func sameIDs(caller, target *image.Creds, allMapped bool) bool {
	for _, id := range []uint32{target.UID, target.EUID, target.SUID} {
		if id != caller.UID || !allMapped && id == overflowID {
			return false
		}
	}
	for _, id := range []uint32{target.GID, target.EGID, target.SGID} {
		if id != caller.GID || !allMapped && id == overflowID {
			return false
		}
	}
	return true
}

// overflowID stands for ids without a name (kernel.overflowuid; nobody changes
// the default).
const overflowID = 65534

// allIDsMapped reports whether this program's user namespace has a name for
// every user and group, as the first one has.
func allIDsMapped() (bool, error) {
	for _, name := range []string{"uid_map", "gid_map"} {
		b, err := os.ReadFile("/proc/self/" + name)
		if errors.Is(err, fs.ErrNotExist) {
			return true, nil // a kernel without user namespaces
		}
		if err != nil {
			return false, err
		}
		f := strings.Fields(string(b))
		if len(f) != 3 || f[0] != "0" || f[2] != "4294967295" {
			return false, nil
		}
	}
	return true, nil
}

// mayTraceIn reports whether a caller has CAP_SYS_PTRACE over a target, by the
// rules of user_namespaces(7): in the target's user namespace or one above, and
// whoever made a namespace has all capabilities in it.
func (caller *party) mayTraceIn(target *party) (bool, error) {
	has := caller.creds.Effective&(1<<unix.CAP_SYS_PTRACE) != 0
	if target.userns == caller.userns {
		return has, nil
	}
	ns, err := openNamespace(target.tid, "user")
	if err != nil {
		return false, err
	}
	defer func() { ns.close() }()
	for {
		owner, err := ns.owner()
		if err != nil {
			return false, err
		}
		parent, err := ns.parent()
		if errors.Is(err, unix.EPERM) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		ns.close()
		ns = parent
		id, err := ns.id()
		if err != nil {
			return false, err
		}
		if id == caller.userns {
			return has || owner == caller.creds.EUID, nil
		}
	}
}

// dumpable reports whether a task's memory may be seen by its own user
// (PR_SET_DUMPABLE, prctl(2)). The kernel tells by the owner of its files in
// /proc, but not of a task whose user is root.
func dumpable(t *party) (bool, error) {
	var st unix.Stat_t
	if err := unix.Stat(procPath(t.tid, "stat"), &st); err != nil {
		return false, fmt.Errorf("%s: %w", procPath(t.tid, "stat"), err)
	}
	if st.Uid != t.creds.EUID {
		return false, nil
	}
	if t.creds.EUID != 0 {
		return true, nil
	}
	// If the kernel side lacks the capability itself, the kernel makes the
	// check when it begins to trace.
	self, err := readParty(os.Getpid())
	if err != nil {
		return false, err
	}
	overrides, err := self.mayTraceIn(t)
	return !overrides, err
}

// yamaScope reads kernel.yama.ptrace_scope; 0 where there is no Yama.
func yamaScope() (int, error) {
	b, err := os.ReadFile("/proc/sys/kernel/yama/ptrace_scope")
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(string(bytes.TrimSpace(b)))
}

// isDescendant reports whether a process descends from another.
func isDescendant(pid, ancestor int) (bool, error) {
	for pid > 1 {
		s, err := readStatus(pid)
		if err != nil {
			return false, err
		}
		if pid = s.ppid; pid == ancestor {
			return true, nil
		}
	}
	return false, nil
}
