package image

import "sort"

// index finds records of one tag by their id. It holds the first n records of
// their list.
type index struct {
	at map[uint32]int
	n  int
}

// lastIndexed is the last tag of records that are found by their id.
const lastIndexed = TagShares

// ids gives how many records of a tag there are, and the id of each.
func (m *Image) ids(t Tag) (int, func(int) uint32) {
	switch t {
	case TagProcess:
		return len(m.Processes), func(i int) uint32 { return m.Processes[i].PID }
	case TagTask:
		return len(m.Tasks), func(i int) uint32 { return m.Tasks[i].TID }
	case TagCPU:
		return len(m.CPUs), func(i int) uint32 { return m.CPUs[i].TID }
	case TagMM:
		return len(m.MMs), func(i int) uint32 { return m.MMs[i].ID }
	case TagFS:
		return len(m.FSs), func(i int) uint32 { return m.FSs[i].ID }
	case TagSighand:
		return len(m.Sighands), func(i int) uint32 { return m.Sighands[i].ID }
	case TagFiles:
		return len(m.Tables), func(i int) uint32 { return m.Tables[i].ID }
	case TagFile:
		return len(m.Files), func(i int) uint32 { return m.Files[i].ID }
	case TagPipe:
		return len(m.Pipes), func(i int) uint32 { return m.Pipes[i].ID }
	case TagShm:
		return len(m.Shms), func(i int) uint32 { return m.Shms[i].ID }
	case TagSocket:
		return len(m.Sockets), func(i int) uint32 { return m.Sockets[i].ID }
	case TagEpoll:
		return len(m.Epolls), func(i int) uint32 { return m.Epolls[i].ID }
	case TagInotify:
		return len(m.Inotifies), func(i int) uint32 { return m.Inotifies[i].ID }
	case TagPty:
		return len(m.Ptys), func(i int) uint32 { return m.Ptys[i].ID }
	case TagSeccomp:
		return len(m.Seccomps), func(i int) uint32 { return m.Seccomps[i].ID }
	case TagQueue:
		return len(m.Queues), func(i int) uint32 { return m.Queues[i].ID }
	case TagSemaphores:
		return len(m.Semaphores), func(i int) uint32 { return m.Semaphores[i].ID }
	case TagShares:
		return len(m.Shares), func(i int) uint32 { return m.Shares[i].MM }
	}
	return 0, nil
}

// find returns the place of a record in the list of its tag, -1 if there is
// none. Records may be appended between calls; a list that was changed in
// another way is seen after Validate.
func (m *Image) find(t Tag, id uint32) int {
	x := &m.index[t]
	n, idOf := m.ids(t)
	if x.at == nil || x.n > n {
		x.at, x.n = make(map[uint32]int, n), 0
	}
	for ; x.n < n; x.n++ {
		x.at[idOf(x.n)] = x.n
	}
	i, ok := x.at[id]
	if !ok || idOf(i) != id {
		return -1
	}
	return i
}

// TasksOf returns the tasks of a process, its leader first.
func (m *Image) TasksOf(p *Process) []*Task {
	var tasks []*Task
	for _, t := range m.Tasks {
		if t.PID != p.PID {
			continue
		}
		tasks = append(tasks, t)
		if t.TID == t.PID {
			last := len(tasks) - 1
			tasks[0], tasks[last] = tasks[last], tasks[0]
		}
	}
	return tasks
}

// CPUOf returns the CPU state of a task, nil if there is none.
func (m *Image) CPUOf(tid uint32) *CPU {
	if i := m.find(TagCPU, tid); i >= 0 {
		return m.CPUs[i]
	}
	return nil
}

// Process returns the process with a pid, nil if there is none.
func (m *Image) Process(pid uint32) *Process {
	if i := m.find(TagProcess, pid); i >= 0 {
		return m.Processes[i]
	}
	return nil
}

// Task returns the task with a tid, nil if there is none.
func (m *Image) Task(tid uint32) *Task {
	if i := m.find(TagTask, tid); i >= 0 {
		return m.Tasks[i]
	}
	return nil
}

// MM returns the address space with an id, nil if there is none.
func (m *Image) MM(id uint32) *MM {
	if i := m.find(TagMM, id); i >= 0 {
		return m.MMs[i]
	}
	return nil
}

// FS returns the file system state with an id, nil if there is none.
func (m *Image) FS(id uint32) *FS {
	if i := m.find(TagFS, id); i >= 0 {
		return m.FSs[i]
	}
	return nil
}

// Sighand returns the table of signal actions with an id, nil if there is none.
func (m *Image) Sighand(id uint32) *Sighand {
	if i := m.find(TagSighand, id); i >= 0 {
		return m.Sighands[i]
	}
	return nil
}

// Table returns the table of descriptors with an id, nil if there is none.
func (m *Image) Table(id uint32) *Files {
	if i := m.find(TagFiles, id); i >= 0 {
		return m.Tables[i]
	}
	return nil
}

// File returns the open or mapped file with an id, nil if there is none.
func (m *Image) File(id uint32) *File {
	if i := m.find(TagFile, id); i >= 0 {
		return m.Files[i]
	}
	return nil
}

// Pipe returns the pipe with an id, nil if there is none.
func (m *Image) Pipe(id uint32) *Pipe {
	if i := m.find(TagPipe, id); i >= 0 {
		return m.Pipes[i]
	}
	return nil
}

// Shm returns the shared memory with an id, nil if there is none.
func (m *Image) Shm(id uint32) *Shm {
	if i := m.find(TagShm, id); i >= 0 {
		return m.Shms[i]
	}
	return nil
}

// Overlaps calls f for each mapping that has a part of a range, in order: with
// its place in VMAs, and that part.
func (m *MM) Overlaps(start, end uint64, f func(i int, start, end uint64)) {
	i := sort.Search(len(m.VMAs), func(i int) bool { return m.VMAs[i].End > start })
	for ; i < len(m.VMAs) && m.VMAs[i].Start < end; i++ {
		from, to := start, end
		if v := &m.VMAs[i]; from < v.Start {
			from = v.Start
		}
		if v := &m.VMAs[i]; to > v.End {
			to = v.End
		}
		f(i, from, to)
	}
}

// Socket returns the socket with an id, nil if there is none.
func (m *Image) Socket(id uint32) *Socket {
	if i := m.find(TagSocket, id); i >= 0 {
		return m.Sockets[i]
	}
	return nil
}

// Epoll returns the interest list with an id, nil if there is none.
func (m *Image) Epoll(id uint32) *Epoll {
	if i := m.find(TagEpoll, id); i >= 0 {
		return m.Epolls[i]
	}
	return nil
}

// Inotify returns the list of watches with an id, nil if there is none.
func (m *Image) Inotify(id uint32) *Inotify {
	if i := m.find(TagInotify, id); i >= 0 {
		return m.Inotifies[i]
	}
	return nil
}

// Pty returns the pseudoterminal with an id, nil if there is none.
func (m *Image) Pty(id uint32) *Pty {
	if i := m.find(TagPty, id); i >= 0 {
		return m.Ptys[i]
	}
	return nil
}

// Seccomp returns the filter with an id, nil if there is none.
func (m *Image) Seccomp(id uint32) *Seccomp {
	if i := m.find(TagSeccomp, id); i >= 0 {
		return m.Seccomps[i]
	}
	return nil
}
