package kernel

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"cr/image"
)

// A network namespace that an image can hold is one as the kernel makes it, with
// nothing but the loopback interface. What has been set up in it leads elsewhere:
// who set it up has to do so again.

// network saves the network namespace of the tree, and refuses what is set up in
// it.
func (s *saver) network(p *process, own *image.Namespaces) error {
	refuse := func(object, reason, hint string) { s.refuse(p, "network namespace", object, reason, hint) }
	for _, step := range []func(*process, *image.Namespaces, func(object, reason, hint string)) error{
		interfaces, addresses, routes, routingRules,
	} {
		if err := step(p, own, refuse); err != nil {
			return err
		}
	}
	return s.packetFilters(p, refuse)
}

// text is a string of an attribute.
func text(v []byte) string {
	b, _, _ := bytes.Cut(v, []byte{0})
	return string(b)
}

// Types of messages (include/uapi/linux/rtnetlink.h).
const (
	rtmNewLink  = 16
	rtmGetLink  = 18
	rtmNewAddr  = 20
	rtmGetAddr  = 22
	rtmNewRoute = 24
	rtmGetRoute = 26
	rtmNewRule  = 32
	rtmGetRule  = 34
)

// fallback are the interfaces that a new namespace has if the modules of their
// tunnels are loaded (net.core.fb_tunnels_only_for_init_net).
var fallback = map[string]bool{
	"tunl0": true, "gre0": true, "gretap0": true, "erspan0": true, "ip_vti0": true,
	"ip6_vti0": true, "sit0": true, "ip6tnl0": true, "ip6gre0": true,
}

// interfaces looks for others than lo, which may be up.
func interfaces(p *process, own *image.Namespaces, refuse func(object, reason, hint string)) error {
	return p.dumpOf(netlinkRoute, rtmGetLink, make([]byte, 16), func(kind uint16, m []byte) {
		const attrName = 3
		if kind != rtmNewLink || len(m) < 16 {
			return
		}
		loopback, up := hostOrder.Uint32(m[8:])&unix.IFF_LOOPBACK != 0, hostOrder.Uint32(m[8:])&unix.IFF_UP != 0
		netlinkAttributes(m[16:], func(kind uint16, v []byte) {
			switch name := text(v); {
			case kind != attrName:
			case loopback && name == "lo":
				own.LoopbackUp = up
			case up || !fallback[name]:
				refuse(name, "an interface, and an image holds lo only",
					"delete it (ip link delete), or checkpoint from inside and restart in a namespace that is set up alike")
			}
		})
	})
}

// addresses looks for others than those that lo has by itself.
func addresses(p *process, _ *image.Namespaces, refuse func(object, reason, hint string)) error {
	return p.dumpOf(netlinkRoute, rtmGetAddr, make([]byte, 8), func(kind uint16, m []byte) {
		const attrAddress = 1
		if kind != rtmNewAddr || len(m) < 8 {
			return
		}
		netlinkAttributes(m[8:], func(kind uint16, v []byte) {
			a, ok := netip.AddrFromSlice(v)
			if kind != attrAddress || !ok {
				return
			}
			switch address := fmt.Sprintf("%s/%d", a, m[1]); address {
			case "127.0.0.1/8", "::1/128":
			default:
				refuse(address, "an address that lo does not have by itself", "delete it (ip address delete)")
			}
		})
	})
}

// routes looks for routes that the kernel has not made itself.
func routes(p *process, _ *image.Namespaces, refuse func(object, reason, hint string)) error {
	return p.dumpOf(netlinkRoute, rtmGetRoute, make([]byte, 12), func(kind uint16, m []byte) {
		const (
			attrDestination = 1
			protocolKernel  = 2
		)
		if kind != rtmNewRoute || len(m) < 12 || m[5] == protocolKernel {
			return
		}
		to := "default"
		netlinkAttributes(m[12:], func(kind uint16, v []byte) {
			if a, ok := netip.AddrFromSlice(v); kind == attrDestination && ok {
				to = fmt.Sprintf("%s/%d", a, m[1])
			}
		})
		refuse("to "+to, "a route", "delete it (ip route delete)")
	})
}

// routingRules looks for others than those that there are at first.
func routingRules(p *process, _ *image.Namespaces, refuse func(object, reason, hint string)) error {
	err := p.dumpOf(netlinkRoute, rtmGetRule, make([]byte, 12), func(kind uint16, m []byte) {
		const attrPriority = 6
		if kind != rtmNewRule || len(m) < 12 {
			return
		}
		priority := uint32(0)
		netlinkAttributes(m[12:], func(kind uint16, v []byte) {
			if kind == attrPriority && len(v) == 4 {
				priority = hostOrder.Uint32(v)
			}
		})
		switch priority {
		case 0, 32766, 32767: // local, main, default
		default:
			refuse(fmt.Sprint("priority ", priority), "a routing rule", "delete it (ip rule delete)")
		}
	})
	if errors.Is(err, unix.EOPNOTSUPP) {
		return nil // a kernel without them
	}
	return err
}

// packetFilters looks for tables of nftables and of iptables.
func (s *saver) packetFilters(p *process, refuse func(object, reason, hint string)) error {
	for _, name := range []string{"ip_tables_names", "ip6_tables_names"} {
		var b []byte
		_, err := s.options.as.do(func() (_ int, err error) {
			b, err = readProc(p.pid, "net/"+name)
			return 0, err
		})
		if err == nil && len(bytes.TrimSpace(b)) > 0 {
			refuse(strings.Join(strings.Fields(string(b)), " "), "tables of iptables", "restart in a namespace that is set up alike, from inside")
		}
	}
	const (
		newTable  = 10 << 8 // of the subsystem NFNL_SUBSYS_NFTABLES
		getTable  = 10<<8 | 1
		attrTable = 1
	)
	each := func(kind uint16, m []byte) {
		if kind != newTable || len(m) < 4 {
			return
		}
		netlinkAttributes(m[4:], func(kind uint16, v []byte) {
			if kind == attrTable {
				refuse(text(v), "a table of nftables", "delete it (nft delete table)")
			}
		})
	}
	err := p.dumpOf(netlinkNetfilter, getTable, make([]byte, 4), each)
	if errors.Is(err, unix.EPERM) && s.options.as == nil {
		// The process may not. This program may, if it may enter.
		err = inNetwork(p.pid, func() error {
			sock, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, netlinkNetfilter)
			if err != nil {
				return err
			}
			defer unix.Close(sock)
			return dumpNetlink(sock, getTable, make([]byte, 4), each)
		})
	}
	switch {
	case errors.Is(err, unix.EPROTONOSUPPORT), errors.Is(err, unix.EINVAL), errors.Is(err, unix.EOPNOTSUPP):
		return nil // a kernel without nftables
	case errors.Is(err, unix.EPERM):
		refuse("", "it cannot be seen whether it has a packet filter, which takes CAP_NET_ADMIN in it", "checkpoint as root")
		return nil
	}
	return err
}

// inNetwork does something on a thread of its own in the network namespace of a
// process.
func inNetwork(pid int, do func() error) error {
	ns, err := openNamespace(pid, "net")
	if err != nil {
		return err
	}
	defer ns.close()
	own, err := openNamespace(unix.Getpid(), "net")
	if err != nil {
		return err
	}
	defer own.close()
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		err := unix.Setns(int(ns.f.Fd()), unix.CLONE_NEWNET)
		if err == nil {
			err = do()
			if e := unix.Setns(int(own.f.Fd()), unix.CLONE_NEWNET); e != nil {
				done <- firstError(err, e)
				return // the thread ends with it
			}
		}
		runtime.UnlockOSThread()
		done <- err
	}()
	return <-done
}
