package ppc

import (
	"fmt"

	"cr/regset"
)

// sets is the table of register sets, in the order in which they are restored.
// The modes come first, for the task sets them itself by system calls; the
// breakpoints last, so that nothing done for the restart hits one.
var sets = []*set{
	&prctlSet,
	&fprSet,
	&vmxSet,
	&vsxSet,
	&vsxCompatSet,
	&speSet,
	&tarSet,
	&pprSet,
	&dscrSet,
	&ebbSet,
	&pmuSet,
	&dexcrSet,
	&hashkeyrSet,
	&tmSPRSet,
	&tmGPRSet,
	&tmFPRSet,
	&tmVMXSet,
	&tmVSXSet,
	&tmTARSet,
	&tmPPRSet,
	&tmDSCRSet,
	&pkeySet,
	&gprSet,
	&dabrSet,
	&hwdebugSet,
}

// set is one register set: what a regset.Desc is made of.
type set struct {
	note    regset.Note
	name    string
	feature regset.Mask
	access  regset.Access
	bits    int // word size of the tasks that have it, 0 for both

	size   func(abi regset.ABI) int // bytes; nil if the length varies
	fields func(abi regset.ABI) []field

	// These see only data of the right size.
	used    func(abi regset.ABI, data []byte) bool
	check   func(m *regset.Machine, abi regset.ABI, data []byte, r *report) // nil: any value will do
	fit     func(m *regset.Machine, abi regset.ABI, data []byte) []byte     // nil: as it is
	initial func(abi regset.ABI) []byte                                     // what exec leaves; nil: not for us to say

	// list gives the registers of a set whose length varies.
	list func(abi regset.ABI, data []byte) []regset.Reg
	// sized judges the length of such a set.
	sized func(abi regset.ABI, data []byte) bool

	// unsaved is why a task that has the set cannot be checkpointed now, "" if
	// it can.
	unsaved string
}

// field is a register's place in a set.
type field struct {
	name      string
	off, size int
}

// report collects the problems of one set.
type report struct {
	set string
	out *regset.Problems
}

func (r *report) add(reg, reason string) {
	*r.out = append(*r.out, &regset.Problem{Set: r.set, Reg: reg, Reason: reason})
}

func fixed(n int) func(regset.ABI) int { return func(regset.ABI) int { return n } }

// has reports whether tasks of the ABI have the set at all.
func (s *set) has(abi regset.ABI) bool { return s.bits == 0 || s.bits == 8*abi.WordSize() }

// sizeOK reports whether data has the size that the set has.
func (s *set) sizeOK(abi regset.ABI, data []byte) bool {
	if s.sized != nil {
		return s.sized(abi, data)
	}
	return len(data) == s.size(abi)
}

func (s *set) regs(abi regset.ABI, data []byte) []regset.Reg {
	if !s.sizeOK(abi, data) {
		return nil
	}
	if s.list != nil {
		return s.list(abi, data)
	}
	fields := s.fields(abi)
	regs := make([]regset.Reg, 0, len(fields))
	for _, f := range fields {
		if f.off+f.size <= len(data) {
			regs = append(regs, regset.Reg{Name: f.name, Value: bigEndian(abi, data[f.off:f.off+f.size])})
		}
	}
	return regs
}

// bigEndian returns a copy of a value, most significant byte first.
func bigEndian(abi regset.ABI, b []byte) []byte {
	v := append([]byte(nil), b...)
	if !abi.BigEndian {
		for i, j := 0, len(v)-1; i < j; i, j = i+1, j-1 {
			v[i], v[j] = v[j], v[i]
		}
	}
	return v
}

func (s *set) desc() regset.Desc {
	return regset.Desc{
		Unsaved: func(regset.ABI, []byte) string { return s.unsaved },
		Passing: s.unsaved != "",
		Note:    s.note, Name: s.name, Feature: s.feature, Access: s.access,
		InCore: s.access == regset.Regset || s.access == regset.VSRRegs,
		Regs:   s.regs,
		Used: func(abi regset.ABI, data []byte) bool {
			// Data that cannot be read is not known to be unused.
			return !s.sizeOK(abi, data) || s.used(abi, data)
		},
		Check: func(m *regset.Machine, abi regset.ABI, data []byte, out *regset.Problems) {
			r := &report{s.name, out}
			if !s.sizeOK(abi, data) {
				r.add("", fmt.Sprintf("%d bytes is no size of it in ABI %s", len(data), abi))
				return
			}
			if s.check != nil {
				s.check(m, abi, data, r)
			}
		},
		Fit: func(m *regset.Machine, abi regset.ABI, data []byte) []byte {
			if s.fit == nil {
				return data
			}
			return s.fit(m, abi, append([]byte(nil), data...))
		},
	}
}
