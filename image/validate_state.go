package image

// Bounds of what tasks set for themselves.
const (
	maxFilter   = 4096 // BPF_MAXINSNS
	maxFilters  = 4096 // no task can have more: each takes a part of MAX_INSNS_PER_PATH
	sizeofInsn  = 8    // struct sock_filter
	maxPolicy   = 128  // bytes of a mask of nodes: MAX_NUMNODES is 1024
	allSettings = 256
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
	return v.segments()
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
