package kernel

import (
	"fmt"
	"strings"

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
	if l.options.PIDs == NamespacePIDs {
		flags |= unix.CLONE_NEWPID
	}
	return flags
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
	_, err := p.leader().call(sysMunmap, p.scratch, scratchSize)
	p.scratch = 0
	return err
}

// noneOfItsOwn refuses an image whose processes have namespaces for themselves:
// a process that is made into one stays in those that it is in.
func (rs *restarter) noneOfItsOwn(pid int) error {
	own := rs.img.OwnNamespaces().Own
	if own == 0 {
		return nil
	}
	return &RefusedError{PID: pid, Kind: "namespace", Object: namespaceNames(uintptr(own)),
		Reason: "the image is of processes that have namespaces for themselves, and a caller of restart() stays in its own",
		Hint:   "restart it with cr restart", Errno: unix.EOPNOTSUPP}
}
