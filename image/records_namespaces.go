package image

// NamespaceKind is a kind of namespaces that an image can hold.
type NamespaceKind struct {
	Flag uint32 // CLONE_NEW* of clone(2)
	File string // in /proc/PID/ns
	Name string // for people
}

// Flags of the kinds (include/uapi/linux/sched.h), the same on all machines.
const NewUTS uint32 = 0x04000000

// NamespaceKinds lists the kinds.
var NamespaceKinds = []NamespaceKind{
	{NewUTS, "uts", "UTS"},
}

// Namespaces says which namespaces the processes have for themselves
// (namespaces(7)), all in the same, and what is set in them. Without the record
// they have none.
type Namespaces struct {
	Own                  uint32 // flags of the kinds
	Hostname, Domainname string // of a UTS namespace
}

func (*Namespaces) tag() Tag { return TagNamespaces }

func (n *Namespaces) fields(c *coder) {
	c.u32(&n.Own)
	c.str(&n.Hostname)
	c.str(&n.Domainname)
}

// Has reports whether there are namespaces of a kind, by its flag.
func (n *Namespaces) Has(kind uint32) bool { return n.Own&kind != 0 }

// OwnNamespaces gives the namespaces that the processes have for themselves; it
// holds none if there is no record.
func (m *Image) OwnNamespaces() *Namespaces {
	if len(m.Namespaces) == 0 {
		return new(Namespaces)
	}
	return m.Namespaces[0]
}
