package kernel

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"cr/image"
)

// A restart of cr's makes the namespaces anew that the processes had for
// themselves: the stub is born in them, and sets in them what the image says,
// by its own authority, before it makes anything else.

// madeNamespaces are the flags of the namespaces that the stub shall be born
// in.
func (l *launcher) madeNamespaces() uintptr {
	flags := uintptr(l.rs.img.OwnNamespaces().Own)
	if l.options.ControlGroups {
		flags &^= unix.CLONE_NEWCGROUP // that comes when it has entered a group
	}
	if l.options.PIDs == NamespacePIDs {
		flags |= unix.CLONE_NEWPID
	}
	return flags
}

// setUsers gives the stub the user namespace that it shall be born in. Who is
// root makes the one of the image; anybody else has one user and one group to
// give, whom the namespace calls as the root process had them.
func (l *launcher) setUsers(sys *syscall.SysProcAttr) error {
	first := l.rs.img.TasksOf(l.rs.img.Process(l.rs.img.Header.Root))[0].Creds
	sys.Cloneflags |= unix.CLONE_NEWUSER
	if os.Geteuid() == 0 {
		own := l.rs.img.OwnNamespaces()
		l.rs.ids = idMaps{append(idMap{}, own.UIDs...), append(idMap{}, own.GIDs...)}
		sys.GidMappingsEnableSetgroups = own.Setgroups
		_, user := l.rs.ids.uids.outside(first.UID)
		_, group := l.rs.ids.gids.outside(first.GID)
		if !user || !group {
			return &RefusedError{PID: int(l.rs.img.Header.Root), Kind: "credentials", Reason: fmt.Sprintf("uid %d or gid %d has no name in the user namespace of the image", first.UID, first.GID),
				Hint: "restart it as the user whom it belongs to", Errno: unix.EPERM}
		}
		// From now on it is nobody outside whom the image was not.
		sys.Credential = &syscall.Credential{Uid: first.UID, Gid: first.GID, NoSetGroups: true}
		l.groups = &authority{os.Geteuid(), os.Getegid(), []int{}, ^uint64(0)}
		for _, g := range first.Groups {
			if outside, ok := l.rs.ids.gids.outside(g); ok {
				l.groups.groups = append(l.groups.groups, int(outside))
			}
		}
	} else {
		l.rs.ids = idMaps{idMap{{Inside: first.UID, Outside: uint32(os.Getuid()), Count: 1}}, idMap{{Inside: first.GID, Outside: uint32(os.Getgid()), Count: 1}}}
		l.rs.oneUser = true
	}
	sys.UidMappings, sys.GidMappings = l.rs.ids.uids.mappings(), l.rs.ids.gids.mappings()
	// The stub needs the namespace's capabilities until it has become
	// what the image says; execve takes them from all but root.
	last, err := lastCap()
	if err != nil {
		return err
	}
	for c := uintptr(0); c <= last; c++ {
		sys.AmbientCaps = append(sys.AmbientCaps, c)
	}
	return nil
}

// namespaceNames names namespaces for people, by their flags.
func namespaceNames(flags uintptr) string {
	var list []string
	if flags&unix.CLONE_NEWPID != 0 {
		list = append(list, "pid")
	}
	for _, k := range image.NamespaceKinds {
		if flags&uintptr(k.Flag) != 0 {
			list = append(list, k.Name)
		}
	}
	return strings.Join(list, ", ")
}

// setNamespaces makes the stub set in its new namespaces what the image says.
func (l *launcher) setNamespaces(p *process) error {
	own := l.rs.img.OwnNamespaces()
	if own.Own == 0 {
		return nil
	}
	if err := p.enter(); err != nil {
		return err
	}
	r := &reborn{process: p}
	if own.Has(image.NewUTS) {
		for _, name := range []struct {
			nr   sysno
			text string
		}{{sysSethostname, own.Hostname}, {sysSetdomainname, own.Domainname}} {
			if _, err := r.do(name.nr, append([]byte(name.text), 0), len(name.text)); err != nil {
				return fmt.Errorf("name of the UTS namespace: %w", err)
			}
		}
	}
	if own.LoopbackUp {
		if err := r.loopbackUp(); err != nil {
			return fmt.Errorf("set the loopback interface up: %w", err)
		}
	}
	if own.Has(image.NewCgroup) && l.options.ControlGroups {
		// The root of the namespace is the group that its maker is in.
		if err := l.rs.enterGroupsOf(p.pid, l.rs.img.Process(l.rs.img.Header.Root)); err != nil {
			return err
		}
		if _, err := p.leader().call(sysUnshare, unix.CLONE_NEWCGROUP); err != nil {
			return fmt.Errorf("make a cgroup namespace: %w", err)
		}
	}
	for _, s := range own.Sysctls {
		if err := l.setSysctl(r, s); err != nil {
			return err
		}
	}
	if own.Has(image.NewMount) {
		if err := r.mounts(own); err != nil {
			return err
		}
	}
	_, err := p.leader().call(sysMunmap, p.scratch, scratchSize)
	p.scratch = 0
	return err
}

// mounts makes the stub's mounts private, as they were, and has the stub mount
// what the image has beyond them.
func (r *reborn) mounts(own *image.Namespaces) error {
	if _, err := r.do(sysMount, 0, []byte("/\x00"), 0, unix.MS_REC|unix.MS_PRIVATE, 0); err != nil {
		return fmt.Errorf("make the mounts private: %w", err)
	}
	for i := range own.Mounts {
		m := &own.Mounts[i]
		flags := uint32(0)
		for _, option := range strings.Split(m.Options, ",") {
			flags |= image.MountFlags[option]
		}
		text := func(s string) []byte { return append([]byte(s), 0) }
		if _, err := r.do(sysMount, text(m.Source), text(m.Target), text(m.Type), flags, text(m.Data())); err != nil {
			hint := ""
			if m.Type == "proc" && errors.Is(err, unix.EPERM) {
				hint = " (one may mount the processes of a pid namespace of one's own only: --pids=namespace)"
			}
			return fmt.Errorf("mount %s at %s: %w%s", m.Type, m.Target, err, hint)
		}
	}
	return nil
}

// setSysctl makes the stub set a parameter of its new namespaces, unless it is
// so already.
func (l *launcher) setSysctl(r *reborn, s image.Sysctl) error {
	path := "/proc/sys/" + s.Name
	fd, err := r.openPath(path, unix.O_RDONLY|unix.O_CLOEXEC)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	b := make(out, 256)
	n, err := r.do(sysRead, fd, b, len(b))
	if _, e := r.do(sysClose, fd); err == nil {
		err = e
	}
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	now := strings.Join(strings.Fields(string(b[:n])), " ")
	if now == s.Value {
		return nil
	}
	err = r.writeFile(path, s.Value)
	if refusedByKernel(err) && !l.options.Force {
		return &RefusedError{PID: r.pid, Kind: "parameter", Object: s.Name,
			Reason: fmt.Sprintf("in the namespace of the image it is %s, in a new one %s, and to set it takes a privilege", s.Value, now),
			Hint:   "restart it as root, or do without (--force)", Errno: unix.EPERM}
	}
	if err != nil && !refusedByKernel(err) {
		return fmt.Errorf("set %s to %s: %w", s.Name, s.Value, err)
	}
	return nil
}

// loopbackUp makes the stub set lo up (netdevice(7)).
func (r *reborn) loopbackUp() error {
	fd, err := r.do(sysSocket, unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	request := make([]byte, 40) // struct ifreq: a name of 16 bytes, then the flags
	copy(request, "lo")
	r.leader().abi.Order().PutUint16(request[16:], unix.IFF_UP)
	_, err = r.do(sysIoctl, fd, unix.SIOCSIFFLAGS, request)
	if _, e := r.do(sysClose, fd); err == nil {
		err = e
	}
	return err
}

// newIPC reports whether the processes are in an IPC namespace that was made for
// them.
func (rs *restarter) newIPC() bool { return rs.img.OwnNamespaces().Has(image.NewIPC) }

// newMQueue makes a POSIX message queue in the new IPC namespace, if it is one of
// the image's and not made yet.
func (rs *restarter) newMQueue(name string) error {
	for _, q := range rs.img.OwnNamespaces().MQueues {
		if q.Name != name || rs.mqueues[name] {
			continue
		}
		l := layoutOf(rs.root.leader().abi)
		attr := make([]byte, 8*l.word)
		l.putLong(attr, 1, q.MaxMessages)
		l.putLong(attr, 2, q.MessageSize)
		fd, err := rs.root.do(sysMqOpen, append([]byte(name), 0), unix.O_RDWR|unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC, 0o600, attr)
		if err != nil {
			return fmt.Errorf("message queue /%s of %d messages of %d bytes: %w", name, q.MaxMessages, q.MessageSize, err)
		}
		creds := rs.creds(rs.root.process)
		if !rs.oneUser && (q.UID != creds.FSUID || q.GID != creds.FSGID) {
			_, err = rs.root.do(sysFchown, fd, q.UID, q.GID)
		}
		if err == nil {
			_, err = rs.root.do(sysFchmod, fd, q.Mode)
		}
		if _, e := rs.root.do(sysClose, fd); err == nil {
			err = e
		}
		if err != nil {
			return fmt.Errorf("owner and mode of message queue /%s: %w", name, err)
		}
		if rs.mqueues == nil {
			rs.mqueues = make(map[string]bool)
		}
		rs.mqueues[name] = true
	}
	return nil
}

// noneOfItsOwn refuses an image whose processes have namespaces for themselves:
// a process that is made into one stays in those that it is in.
func (rs *restarter) noneOfItsOwn(pid int) error {
	own := rs.img.OwnNamespaces().Own &^ image.NewUser // for which the caller's may do
	if own == 0 {
		return nil
	}
	return &RefusedError{PID: pid, Kind: "namespace", Object: namespaceNames(uintptr(own)),
		Reason: "the image is of processes that have namespaces for themselves, and a caller of restart() stays in its own",
		Hint:   "restart it with cr restart", Errno: unix.EOPNOTSUPP}
}
