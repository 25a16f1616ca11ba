package image

// IPC is what System V message queues and semaphores have in common
// (struct ipc_perm).
type IPC struct {
	Key      int32
	Number   int32  // msqid, semid
	Mode     uint32 // permissions
	UID, GID uint32 // of its owner
	Changed  int64  // msg_ctime, sem_ctime: seconds
}

func (i *IPC) fields(c *coder) {
	c.i32(&i.Key)
	c.i32(&i.Number)
	c.u32(&i.Mode)
	c.u32(&i.UID)
	c.u32(&i.GID)
	c.i64(&i.Changed)
}

// Queue is a System V message queue (msgget(2)).
type Queue struct {
	ID       uint32
	IPC      IPC
	Limit    uint64 // msg_qbytes
	Messages []QueueMessage
}

// QueueMessage is a message that waits in a queue.
type QueueMessage struct {
	Type int64
	Data []byte
}

func (*Queue) tag() Tag { return TagQueue }

func (q *Queue) fields(c *coder) {
	c.u32(&q.ID)
	q.IPC.fields(c)
	c.u64(&q.Limit)
	n := c.count(len(q.Messages), 12)
	if !c.writing && n > 0 {
		q.Messages = make([]QueueMessage, n)
	}
	for i := range q.Messages {
		c.i64(&q.Messages[i].Type)
		c.bytes(&q.Messages[i].Data)
	}
}

// Semaphores is a set of System V semaphores (semget(2)).
type Semaphores struct {
	ID     uint32
	IPC    IPC
	Values []uint32
}

func (*Semaphores) tag() Tag { return TagSemaphores }

func (s *Semaphores) fields(c *coder) {
	c.u32(&s.ID)
	s.IPC.fields(c)
	c.u32s(&s.Values)
}
