package image

import (
	"fmt"
	"strings"
)

// maxUTSName is the longest name of a UTS namespace (__NEW_UTS_LEN).
const maxUTSName = 64

// namespaces checks the record of namespaces.
func (v *validator) namespaces() error {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("%w: %s", ErrInvalid, fmt.Sprintf(format, args...))
	}
	if len(v.m.Namespaces) == 0 {
		return nil
	}
	if len(v.m.Namespaces) > 1 {
		return bad("two sets of namespaces")
	}
	n := v.m.Namespaces[0]
	known := uint32(0)
	for _, k := range NamespaceKinds {
		known |= k.Flag
	}
	switch {
	case n.Own == 0 || n.Own&^known != 0:
		return bad("namespaces of kinds %#x", n.Own)
	case len(n.Hostname) > maxUTSName || len(n.Domainname) > maxUTSName:
		return bad("a host or domain name of more than %d bytes", maxUTSName)
	case hasNUL(n.Hostname, n.Domainname):
		return bad("a host or domain name holds a NUL")
	case !n.Has(NewIPC) && len(n.MQueues) > 0:
		return bad("queues of an IPC namespace that is not the processes' own")
	case !n.Has(NewNet) && n.LoopbackUp:
		return bad("an interface of a network namespace that is not the processes' own")
	case !n.Has(NewUser) && (len(n.UIDs)+len(n.GIDs) > 0 || n.Setgroups):
		return bad("maps of a user namespace that is not the processes' own")
	case !n.Has(NewMount) && len(n.Mounts) > 0:
		return bad("mounts of a mount namespace that is not the processes' own")
	}
	for _, list := range [][]IDRange{n.UIDs, n.GIDs} {
		if len(list) > maxRanges {
			return bad("a map of %d ranges of ids", len(list))
		}
		for _, r := range list {
			if r.Count == 0 || uint64(r.Inside)+uint64(r.Count) > noID || uint64(r.Outside)+uint64(r.Count) > noID {
				return bad("ids %d, outside %d, %d of them", r.Inside, r.Outside, r.Count)
			}
		}
	}
	for i := range n.Mounts {
		if reason := n.Mounts[i].Bad(); reason != "" {
			return bad("mount %q: %s", n.Mounts[i].Target, reason)
		}
	}
	if reason := n.badSysctls(); reason != "" {
		return bad("%s", reason)
	}
	if reason := n.badMQueues(); reason != "" {
		return bad("%s", reason)
	}
	return nil
}

// badSysctls says what is wrong with the parameters, "" if nothing is. Each is
// one of a namespace that there is, as the kernel writes it: numbers.
func (n *Namespaces) badSysctls() string {
	left := make(map[string]bool)
	for kind, names := range NamespaceSysctls {
		for _, name := range names {
			left[name] = n.Has(kind)
		}
	}
	for _, s := range n.Sysctls {
		if !left[s.Name] {
			return fmt.Sprintf("parameter %q is of none of the namespaces, or there twice", s.Name)
		}
		left[s.Name] = false
		if s.Value == "" || len(s.Value) > maxSysctl || strings.Trim(s.Value, "0123456789 ") != "" {
			return fmt.Sprintf("parameter %s is %q", s.Name, s.Value)
		}
	}
	return ""
}

// A map has at most so many ranges (UID_GID_MAP_MAX_EXTENTS); what lies above
// is no id.
const (
	maxRanges = 340
	noID      = 1<<32 - 1
)

// maxSysctl is the longest value: four numbers of 20 digits.
const maxSysctl = 83

// badMQueues says what is wrong with the message queues, "" if nothing is.
func (n *Namespaces) badMQueues() string {
	seen := make(map[string]bool)
	for _, q := range n.MQueues {
		switch {
		case q.Name == "" || q.Name == "." || q.Name == ".." || len(q.Name) > maxName || strings.ContainsAny(q.Name, "/\x00") || seen[q.Name]:
			return fmt.Sprintf("a message queue %q, or it is there twice", q.Name)
		case q.Mode&^0o777 != 0 || q.UID == ^uint32(0) || q.GID == ^uint32(0):
			return fmt.Sprintf("message queue %q: mode %#o, owner %d:%d", q.Name, q.Mode, q.UID, q.GID)
		case q.MaxMessages == 0 || q.MaxMessages >= 1<<31 || q.MessageSize == 0 || q.MessageSize >= 1<<31:
			return fmt.Sprintf("message queue %q: %d messages of %d bytes", q.Name, q.MaxMessages, q.MessageSize)
		}
		seen[q.Name] = true
	}
	return ""
}

// maxName is the longest name of a file (NAME_MAX).
const maxName = 255
