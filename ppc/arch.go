package ppc

import (
	"fmt"

	"cr/regset"
)

type arch struct{}

// Arch is powerpc.
var Arch regset.Arch = arch{}

// Table lists the register sets of the ABI's tasks.
func (arch) Table(abi regset.ABI) []regset.Desc {
	if !abi.Known() || !abi.IsPPC() {
		return nil
	}
	var table []regset.Desc
	for _, s := range sets {
		if s.has(abi) {
			table = append(table, s.desc())
		}
	}
	return table
}

// find returns the set that tasks of the ABI have by that note.
func find(abi regset.ABI, n regset.Note) *set {
	for _, s := range sets {
		if s.note == n && s.has(abi) {
			return s
		}
	}
	return nil
}

// PC is the address of the next instruction, nip.
func (arch) PC(abi regset.ABI, prstatus []byte) uint64 { return gprs(abi, prstatus).get(ptNIP) }

// SP is r1.
func (arch) SP(abi regset.ABI, prstatus []byte) uint64 { return gprs(abi, prstatus).get(1) }

// SetPC sets nip.
func (arch) SetPC(abi regset.ABI, prstatus []byte, pc uint64) { gprs(abi, prstatus).set(ptNIP, pc) }

// SetSP sets r1.
func (arch) SetSP(abi regset.ABI, prstatus []byte, sp uint64) { gprs(abi, prstatus).set(1, sp) }

// Used computes the features that a state uses: those whose sets hold more
// than initial values, those that MSR says are live in the CPU, and those that
// single values give away. What a program may use and leaves no trace
// (Unseen) is not among them.
func (arch) Used(s *regset.State) regset.Mask {
	var used regset.Mask
	for i := range s.Sets {
		d := find(s.ABI, s.Sets[i].Note)
		if d == nil || d.feature == 0 && d.note != regset.NotePPCPrctl {
			continue
		}
		if !d.sizeOK(s.ABI, s.Sets[i].Data) || d.used(s.ABI, s.Sets[i].Data) {
			used |= d.feature
		}
	}
	return used | usedHints(s)
}

// usedHints are the features that one set tells of another.
func usedHints(s *regset.State) regset.Mask {
	var used regset.Mask
	g := gprs(s.ABI, s.Find(regset.PRSTATUS))
	msr := g.get(ptMSR)
	if msr&msrFP != 0 {
		used |= FeatureFPU
	}
	if msr&msrVEC != 0 {
		// One bit for two units; no CPU has both.
		switch {
		case s.Find(regset.PPC_SPE) != nil:
			used |= FeatureSPE
		case s.Find(regset.PPC_VMX) != nil:
			used |= FeatureVMX
		}
	}
	if msr&msrVSX != 0 && s.Find(regset.PPC_VSX) != nil {
		used |= FeatureVSX
	}
	if s.ABI.WordSize() == 8 && msr&msrTM != 0 {
		used |= FeatureTM
	}
	if g.vector() == trapSCV {
		used |= FeatureSCV
	}
	if fpr := s.Find(regset.PRFPREG); len(fpr) == sizeFPR && fpscr(s.ABI, fpr)&fpscrDRN != 0 {
		// 32-bit CPUs without it set the rest of the word.
		if s.ABI.WordSize() == 8 || fpscr(s.ABI, fpr)&^(fpscrDRN|fpscrLow) == 0 {
			used |= FeatureDFP
		}
	}
	if p, err := DecodePrctl(s.ABI, s.Find(regset.NotePPCPrctl)); err == nil {
		used |= p.used()
	}
	for _, b := range breakpoints(s.ABI, s.Find(regset.NoteHWDebug)) {
		if b.TriggerType&TriggerExecute != 0 {
			used |= FeatureIAC
		}
	}
	return used
}

// InTransaction reports whether a task is in a transaction, active or
// suspended, and so can be neither checkpointed nor restored: ptrace cannot put
// a task into one. MSR of 32-bit tasks lacks the bits, their checkpointed
// registers are there only in a transaction.
func InTransaction(s *regset.State) bool {
	if s.ABI.WordSize() == 8 && gprs(s.ABI, s.Find(regset.PRSTATUS)).get(ptMSR)&msrTS != 0 {
		return true
	}
	for i := range s.Sets {
		if checkpointed(s.Sets[i].Note) {
			return true
		}
	}
	return false
}

// Check tells whether a state can be restored on a machine.
func (a arch) Check(m *regset.Machine, s *regset.State) regset.Problems {
	var out regset.Problems
	add := func(set, reason string) { out = append(out, &regset.Problem{Set: set, Reason: reason}) }

	if !s.ABI.Known() || !s.ABI.IsPPC() {
		add("", fmt.Sprintf("%s is not a powerpc ABI", s.ABI))
		return out
	}
	if !m.Runs(s.ABI) {
		add("", fmt.Sprintf("the machine runs no tasks of ABI %s", s.ABI))
	}
	if s.Find(regset.PRSTATUS) == nil {
		add(gprSet.name, "is missing")
	}
	out = append(out, checkFeatures(m, s.ABI, s.Used|a.Used(s))...)

	seen := make(map[regset.Note]bool)
	for i := range s.Sets {
		n := s.Sets[i].Note
		d := find(s.ABI, n)
		switch {
		case d == nil:
			add(fmt.Sprintf("note %#x", uint32(n)), fmt.Sprintf("is not a register set of ABI %s", s.ABI))
		case seen[n]:
			add(d.name, "is there twice")
		default:
			desc := d.desc()
			desc.Check(m, s.ABI, s.Sets[i].Data, &out)
		}
		seen[n] = true
	}
	checkDEXCR(m, s, &out)
	checkBreakpoints(m, s, &out)
	return out
}

// Fit returns the state as the machine takes it: unused sets that it has no
// registers for dropped, sets that it has registers for and the state lacks
// added with what exec leaves in them, bits that a task cannot choose replaced.
func (a arch) Fit(m *regset.Machine, s *regset.State) (*regset.State, error) {
	if p := a.Check(m, s); p != nil {
		return nil, p
	}
	f := &regset.State{ABI: s.ABI, Used: s.Used | a.Used(s)}
	for _, d := range sets {
		if !d.has(s.ABI) || readOnly(d.note) || d.feature != 0 && !available(m, d.feature) {
			continue
		}
		desc := d.desc()
		switch data := s.Find(d.note); {
		case len(data) != 0:
			data = append([]byte(nil), data...)
			f.Sets = append(f.Sets, regset.Set{Note: d.note, Data: desc.Fit(m, s.ABI, data)})
		case d.initial != nil:
			f.Sets = append(f.Sets, regset.Set{Note: d.note, Data: d.initial(s.ABI)})
		}
	}
	hashesOff(m, f)
	return f, nil
}

// readOnly reports whether the kernel gives a set but does not take it.
func readOnly(n regset.Note) bool { return n == regset.PPC_DEXCR }
