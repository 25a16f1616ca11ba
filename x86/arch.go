// Package x86 knows the state of i386 and x86_64 tasks: which register sets
// the kernel gives, what they hold, what of it is safe to give back, and how it
// must change to be taken by another machine. It makes no system call and runs
// on any host.
package x86

import "cr/regset"

// Arch is the architecture of i386 and x86_64 tasks.
var Arch regset.Arch = arch{}

type arch struct{}

// Used computes the features that the register sets of s show to be in use.
func (arch) Used(s *regset.State) regset.Mask { return usedOf(nil, s) }

// usedOf is Used for a state that is to be restored on m, if m is known: m may
// tell where the components of an extended state lie.
func usedOf(m *regset.Machine, s *regset.State) regset.Mask {
	var used regset.Mask
	if s.ABI == regset.X86_64 {
		used |= LM
	}
	for _, d := range Arch.Table(s.ABI) {
		for _, set := range s.Sets {
			if set.Note == d.Note {
				used |= featuresOf(m, s, d, set.Data)
			}
		}
	}
	return used
}

// featuresOf are the features that one set shows to be in use.
func featuresOf(m *regset.Machine, s *regset.State, d regset.Desc, data []byte) regset.Mask {
	switch d.Note {
	case regset.PRFPREG:
		return fpFeatures(s.ABI, data)
	case regset.PRXFPREG:
		if len(data) != fxSize {
			return 0
		}
		return fxFeatures(data)
	case regset.X86_XSTATE:
		if len(data) < xExtended {
			return 0
		}
		return fpStateOfXState(data, layoutOf(m, s.Find(regset.NoteX86XLayout), data)).features()
	case regset.NoteX86Permits:
		if permitsUsed(s.ABI, data) {
			return AMX
		}
		return 0
	}
	if d.Used(s.ABI, data) {
		return d.Feature
	}
	return 0
}

// Check finds every reason why s cannot be restored on m.
func (arch) Check(m *regset.Machine, s *regset.State) regset.Problems {
	var out regset.Problems
	table := Arch.Table(s.ABI)
	if table == nil {
		problem(&out, "", "", "%s tasks are no x86 tasks", s.ABI)
		return out
	}
	if !m.Runs(s.ABI) {
		problem(&out, "", "", "this machine's kernel runs no %s tasks", s.ABI)
	}
	checkNotes(table, s, &out)
	for _, d := range table {
		for _, set := range s.Sets {
			switch {
			case set.Note != d.Note:
			case d.Note == regset.X86_XSTATE:
				checkXState(m, set.Data, layoutOf(m, s.Find(regset.NoteX86XLayout), set.Data), &out)
			default:
				d.Check(m, s.ABI, set.Data, &out)
			}
		}
	}
	checkDescriptors(m, s, &out)
	checkFeatures(m, table, s, &out)
	return out
}

// checkNotes wants every set to be one that the ABI has, and to be there once.
func checkNotes(table []regset.Desc, s *regset.State, out *regset.Problems) {
	names := map[regset.Note]string{}
	for _, d := range table {
		names[d.Note] = d.Name
	}
	seen := map[regset.Note]bool{}
	for _, set := range s.Sets {
		name, ok := names[set.Note]
		switch {
		case !ok:
			problem(out, "", "", "%s tasks have no register set of note type %#x", s.ABI, uint32(set.Note))
		case seen[set.Note]:
			problem(out, name, "", "register set is there twice")
		}
		seen[set.Note] = true
	}
	if !seen[regset.PRSTATUS] {
		problem(out, namePRSTATUS, "", "register set is missing")
	}
}

// checkDescriptors compares selectors with the descriptors that the state has.
func checkDescriptors(m *regset.Machine, s *regset.State, out *regset.Problems) {
	l, data := gprLayoutOf(s.ABI), s.Find(regset.PRSTATUS)
	if len(data) != l.size() {
		return
	}
	g := gprs{l, data}
	if r := usesLDT(g); r != "" && !anyDesc(s.Find(regset.NoteX86LDT)) {
		problem(out, namePRSTATUS, r, "selects from an LDT, which the image does not have")
	}
	if t, ok := tlsGDT(s.Find(regset.I386_TLS)); ok && t != taskGDT(m, s.ABI, g) {
		problem(out, nameTLS, "", "the descriptors and the code segment are of different kernels")
	}
}

// checkFeatures reports the features that the machine lacks and that no check
// of a set has named.
func checkFeatures(m *regset.Machine, table []regset.Desc, s *regset.State, out *regset.Problems) {
	named := map[string]bool{}
	for _, p := range *out {
		named[p.Feature] = true
	}
	missing := (s.Used | usedOf(m, s)) &^ m.Has
	for _, f := range features {
		if missing.Has(f.Bit) && !named[f.Name] {
			lacking(out, setUsing(m, table, s, f.Bit), "", f.Bit)
		}
		missing &^= f.Bit
	}
	if missing != 0 {
		problem(out, "", "", "features %#x are not known", uint64(missing))
	}
}

// setUsing names the first set that shows a feature to be in use, if any.
func setUsing(m *regset.Machine, table []regset.Desc, s *regset.State, bit regset.Mask) string {
	for _, d := range table {
		if featuresOf(m, s, d, s.Find(d.Note))&bit != 0 {
			return d.Name
		}
	}
	return ""
}

// Fit returns s as m takes it. Of the sets that hold floating point and
// extended state, one remains: the largest that m has.
func (arch) Fit(m *regset.Machine, s *regset.State) (*regset.State, error) {
	if p := Arch.Check(m, s); len(p) != 0 {
		return nil, p
	}
	fit := &regset.State{ABI: s.ABI, Used: s.Used}
	for _, d := range Arch.Table(s.ABI) {
		switch d.Note {
		case regset.PRFPREG, regset.PRXFPREG, regset.NoteX86XLayout, regset.I386_IOPERM:
			// The one that is left of the first two comes in the place of
			// X86_XSTATE; the others have nothing to restore.
		case regset.X86_XSTATE:
			fit.Put(fitFP(m, s))
		default:
			if data := s.Find(d.Note); len(data) != 0 {
				fit.Put(d.Note, d.Fit(m, s.ABI, data))
			}
		}
	}
	return fit, nil
}

// fitFP chooses the set for floating point and extended state. It is there
// even if s has none, so that a task never keeps what another left.
func fitFP(m *regset.Machine, s *regset.State) (regset.Note, []byte) {
	f := fpStateOf(m, s)
	switch {
	case hasXState(m):
		return regset.X86_XSTATE, f.xstate(m, s.ABI)
	case s.ABI == regset.X86_64:
		return regset.PRFPREG, fxFit(m, s.ABI, f.fx)
	case m.Has.Has(FXSR):
		return regset.PRXFPREG, fxFit(m, s.ABI, f.fx)
	}
	return regset.PRFPREG, fsaveOfFX(f.fx)
}
