package image

// Setting is something that a task has set for itself: the option of prctl(2)
// or arch_prctl(2) that sets it, and the value.
type Setting struct {
	Option uint32
	Value  uint64
}

// MemPolicy is on which nodes of memory a task allocates
// (set_mempolicy(2)). Nodes is a mask as bytes, lowest nodes first.
type MemPolicy struct {
	Mode  uint32 // MPOL_* with its flags
	Nodes []byte
}

// AreaPolicy is on which nodes of memory the pages of a mapping are allocated
// (mbind(2)).
type AreaPolicy struct {
	Start  uint64 // of the mapping
	Policy MemPolicy
}

// Dispatch is how the system calls of a task become signals (PR_SET_SYSCALL_USER_DISPATCH);
// Mode is 0 if they do not.
type Dispatch struct {
	Mode     uint64
	Selector uint64 // address
	Offset   uint64 // address from which calls are let through
	Len      uint64 // bytes
}

// Seccomp is a seccomp filter, which tasks can share.
type Seccomp struct {
	ID      uint32
	Flags   uint64 // SECCOMP_FILTER_FLAG_* that the kernel tells
	Program []byte // struct sock_filter, 8 bytes each, in the kernel's byte order
}

func (*Seccomp) tag() Tag { return TagSeccomp }

func (s *Seccomp) fields(c *coder) {
	c.u32(&s.ID)
	c.u64(&s.Flags)
	c.bytes(&s.Program)
}

// Segment says what a System V shared memory segment is called (shmget(2)).
type Segment struct {
	Is       bool // the shared memory is a segment
	Key      int32
	Number   int32 // shmid
	UID, GID uint32
	Removed  bool // it goes with its last mapping
}

func (s *Segment) fields(c *coder) {
	c.flag(&s.Is)
	c.i32(&s.Key)
	c.i32(&s.Number)
	c.u32(&s.UID)
	c.u32(&s.GID)
	c.flag(&s.Removed)
}

// stateFields are the fields of a task that came later.
func (t *Task) stateFields(c *coder) {
	c.u64(&t.Sched.Flags)
	c.u64(&t.Sched.Runtime)
	c.u64(&t.Sched.Deadline)
	c.u64(&t.Sched.Period)
	c.u32(&t.IOPrio)
	c.u32(&t.MemPolicy.Mode)
	c.bytes(&t.MemPolicy.Nodes)
	n := c.count(len(t.Settings), 12)
	if !c.writing && n > 0 {
		t.Settings = make([]Setting, n)
	}
	for i := range t.Settings {
		c.u32(&t.Settings[i].Option)
		c.u64(&t.Settings[i].Value)
	}
	c.u64(&t.Dispatch.Mode)
	c.u64(&t.Dispatch.Selector)
	c.u64(&t.Dispatch.Offset)
	c.u64(&t.Dispatch.Len)
	c.u32s(&t.Filters)
	c.u32(&t.Files)
	c.u32(&t.FS)
}
