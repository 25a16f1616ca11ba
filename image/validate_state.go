package image

import "fmt"

// Bounds of what tasks set for themselves.
const (
	maxFilter   = 4096 // BPF_MAXINSNS
	maxFilters  = 4096 // no task can have more: each takes a part of MAX_INSNS_PER_PATH
	sizeofInsn  = 8    // struct sock_filter
	maxPolicy   = 128  // bytes of a mask of nodes: MAX_NUMNODES is 1024
	allSettings = 256
	maxValue    = 32767 // SEMVMX
	maxSet      = 32000 // SEMMSL
)

// state checks what tasks and processes have set for themselves.
func (v *validator) state() error {
	for _, s := range v.m.Seccomps {
		if n := len(s.Program); n == 0 || n%sizeofInsn != 0 || n > maxFilter*sizeofInsn {
			return invalid(TagSeccomp, s.ID, "a program of %d bytes", n)
		}
	}
	for _, t := range v.m.Tasks {
		if err := v.taskState(t); err != nil {
			return err
		}
	}
	if err := v.ownObjects(); err != nil {
		return err
	}
	for _, p := range v.m.Processes {
		if hasNUL(p.Cgroup) {
			return invalid(TagProcess, p.PID, "its cgroup holds a NUL")
		}
	}
	for _, m := range v.m.MMs {
		if m.Future&^(VMALocked|VMALockOnFault) != 0 {
			return invalid(TagMM, m.ID, "mappings to come get flags %#x", m.Future)
		}
	}
	if err := v.segments(); err != nil {
		return err
	}
	return v.sysv()
}

func (v *validator) taskState(t *Task) error {
	if len(t.Filters) > maxFilters {
		return invalid(TagTask, t.TID, "%d seccomp filters", len(t.Filters))
	}
	for _, id := range t.Filters {
		if err := v.refer(TagTask, t.TID, TagSeccomp, id); err != nil {
			return err
		}
	}
	switch {
	case len(t.MemPolicy.Nodes) > maxPolicy:
		return invalid(TagTask, t.TID, "a mask of nodes of %d bytes", len(t.MemPolicy.Nodes))
	case len(t.Settings) > allSettings:
		return invalid(TagTask, t.TID, "%d settings", len(t.Settings))
	}
	seen := make(map[uint32]bool, len(t.Settings))
	for _, s := range t.Settings {
		if seen[s.Option] {
			return invalid(TagTask, t.TID, "setting %d is there twice", s.Option)
		}
		seen[s.Option] = true
	}
	return nil
}

// ownObjects checks what threads have for themselves: nobody else has it.
func (v *validator) ownObjects() error {
	type object struct {
		tag Tag
		id  uint32
	}
	taken := make(map[object]bool)
	for _, p := range v.m.Processes {
		taken[object{TagFiles, p.Files}], taken[object{TagFS, p.FS}] = true, true
	}
	for _, t := range v.m.Tasks {
		for _, o := range []object{{TagFiles, t.Files}, {TagFS, t.FS}} {
			if o.id == 0 {
				continue
			}
			if err := v.refer(TagTask, t.TID, o.tag, o.id); err != nil {
				return err
			}
			if t.TID == t.PID || taken[o] {
				return invalid(TagTask, t.TID, "%s %d is not for itself", o.tag, o.id)
			}
			taken[o] = true
		}
	}
	return nil
}

// segments checks System V shared memory: there is one of each number.
func (v *validator) segments() error {
	seen := make(map[int32]bool)
	for _, s := range v.m.Shms {
		if !s.Segment.Is {
			continue
		}
		switch {
		case s.MemFD, s.Path != "":
			return invalid(TagShm, s.ID, "a segment that is a file")
		case s.Segment.Number < 0:
			return invalid(TagShm, s.ID, "segment %d", s.Segment.Number)
		case seen[s.Segment.Number]:
			return invalid(TagShm, s.ID, "segment %d is there twice", s.Segment.Number)
		}
		seen[s.Segment.Number] = true
	}
	return nil
}

// sysv checks System V message queues and semaphores.
func (v *validator) sysv() error {
	queues, sets := make(map[int64]bool), make(map[int64]bool)
	for _, q := range v.m.Queues {
		if reason := q.IPC.bad(queues); reason != "" {
			return invalid(TagQueue, q.ID, "%s", reason)
		}
		for i := range q.Messages {
			if t := q.Messages[i].Type; t <= 0 {
				return invalid(TagQueue, q.ID, "a message of type %d", t)
			}
		}
	}
	for _, s := range v.m.Semaphores {
		if reason := s.IPC.bad(sets); reason != "" {
			return invalid(TagSemaphores, s.ID, "%s", reason)
		}
		if n := len(s.Values); n == 0 || n > maxSet {
			return invalid(TagSemaphores, s.ID, "a set of %d", n)
		}
		for n, value := range s.Values {
			if value > maxValue {
				return invalid(TagSemaphores, s.ID, "semaphore %d is %d", n, value)
			}
		}
	}
	return nil
}

// bad says what is wrong with an object, "" if nothing is. seen are the numbers
// of others and, beyond those, their keys.
func (i *IPC) bad(seen map[int64]bool) string {
	const keys = 1 << 32
	number, key := int64(i.Number), keys+int64(uint32(i.Key))
	switch {
	case i.Number < 0:
		return fmt.Sprintf("number %d", i.Number)
	case seen[number]:
		return fmt.Sprintf("number %d is there twice", i.Number)
	case i.Key != 0 && seen[key]:
		return fmt.Sprintf("key %#x is there twice", uint32(i.Key))
	case i.Mode&^0o777 != 0:
		return fmt.Sprintf("mode %#o", i.Mode)
	case i.UID == ^uint32(0) || i.GID == ^uint32(0):
		return "it has no owner"
	}
	seen[number], seen[key] = true, true
	return ""
}
