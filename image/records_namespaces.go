package image

// NamespaceKind is a kind of namespaces that an image can hold.
type NamespaceKind struct {
	Flag uint32 // CLONE_NEW* of clone(2)
	File string // in /proc/PID/ns
	Name string // for people
}

// Flags of the kinds (include/uapi/linux/sched.h), the same on all machines.
const (
	NewMount  uint32 = 0x00020000
	NewCgroup uint32 = 0x02000000
	NewUTS    uint32 = 0x04000000
	NewIPC    uint32 = 0x08000000
	NewNet    uint32 = 0x40000000
	NewUser   uint32 = 0x10000000
)

// NamespaceKinds lists the kinds.
var NamespaceKinds = []NamespaceKind{
	{NewUser, "user", "user"},
	{NewUTS, "uts", "UTS"},
	{NewIPC, "ipc", "IPC"},
	{NewNet, "net", "network"},
	{NewCgroup, "cgroup", "cgroup"},
	{NewMount, "mnt", "mount"},
}

// Namespaces says which namespaces the processes have for themselves
// (namespaces(7)), all in the same, and what is set in them. Without the record
// they have none.
type Namespaces struct {
	Own                  uint32 // flags of the kinds
	Hostname, Domainname string // of a UTS namespace
	Sysctls              []Sysctl
	MQueues              []MQueueName // POSIX message queues of an IPC namespace
	LoopbackUp           bool         // of a network namespace: its one interface is up

	// Of a user namespace: ids of tasks and objects are those that it has.
	UIDs, GIDs []IDRange
	Setgroups  bool // setgroups(2) is allowed

	// Mounts are those that a mount namespace has beyond the ones of the program
	// that saved it, the first mounted first.
	Mounts []Mount
}

// IDRange is a line of /proc/PID/uid_map or gid_map: ids of a user namespace, and
// those that they are in the one that the checkpoint was made from.
type IDRange struct{ Inside, Outside, Count uint32 }

// Mount is a file system with nothing in it but what the kernel makes
// (mount(2)). Options and Super are those of /proc/PID/mountinfo: of the mount and
// of the file system.
type Mount struct{ Type, Source, Target, Options, Super string }

// Sysctl is a parameter of the kernel that a namespace has for itself.
type Sysctl struct{ Name, Value string }

// MQueueName is a POSIX message queue that is empty (mq_open(3)).
type MQueueName struct {
	Name        string // without the slash that it begins with
	Mode        uint32 // permissions
	UID, GID    uint32
	MaxMessages uint64
	MessageSize uint64 // in bytes, at most
}

// NamespaceSysctls lists the parameters that an image has of the namespaces of a
// kind, by its flag: files of /proc/sys (Documentation/admin-guide/sysctl,
// Documentation/networking/ip-sysctl.rst).
var NamespaceSysctls = map[uint32][]string{
	NewIPC: {"kernel/msgmax", "kernel/msgmnb", "kernel/msgmni", "kernel/sem", "kernel/shmall", "kernel/shmmax", "kernel/shmmni"},
	NewNet: {"net/core/somaxconn", "net/ipv4/ip_local_port_range", "net/ipv4/ip_nonlocal_bind", "net/ipv4/ip_unprivileged_port_start",
		"net/ipv6/bindv6only", "net/unix/max_dgram_qlen"},
}

func (*Namespaces) tag() Tag { return TagNamespaces }

func (n *Namespaces) fields(c *coder) {
	c.u32(&n.Own)
	c.str(&n.Hostname)
	c.str(&n.Domainname)
	count := c.count(len(n.Sysctls), 8)
	if !c.writing && count > 0 {
		n.Sysctls = make([]Sysctl, count)
	}
	for i := range n.Sysctls {
		c.str(&n.Sysctls[i].Name)
		c.str(&n.Sysctls[i].Value)
	}
	count = c.count(len(n.MQueues), 32)
	if !c.writing && count > 0 {
		n.MQueues = make([]MQueueName, count)
	}
	for i := range n.MQueues {
		q := &n.MQueues[i]
		c.str(&q.Name)
		c.u32(&q.Mode)
		c.u32(&q.UID)
		c.u32(&q.GID)
		c.u64(&q.MaxMessages)
		c.u64(&q.MessageSize)
	}
	c.flag(&n.LoopbackUp)
	c.ranges(&n.UIDs)
	c.ranges(&n.GIDs)
	c.flag(&n.Setgroups)
	count = c.count(len(n.Mounts), 20)
	if !c.writing && count > 0 {
		n.Mounts = make([]Mount, count)
	}
	for i := range n.Mounts {
		m := &n.Mounts[i]
		for _, s := range []*string{&m.Type, &m.Source, &m.Target, &m.Options, &m.Super} {
			c.str(s)
		}
	}
}

// ranges is a list of ranges of ids.
func (c *coder) ranges(p *[]IDRange) {
	n := c.count(len(*p), 12)
	if !c.writing && n > 0 {
		*p = make([]IDRange, n)
	}
	for i := range *p {
		r := &(*p)[i]
		c.u32(&r.Inside)
		c.u32(&r.Outside)
		c.u32(&r.Count)
	}
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
