package image

import "fmt"

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
	}
	return nil
}
