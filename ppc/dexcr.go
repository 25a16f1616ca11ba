package ppc

import "cr/regset"

// Aspects of the dynamic execution control register (asm/reg.h).
const (
	dexcrIBRTPD = 0x10000000
	dexcrSRAPD  = 0x08000000
	dexcrNPHIE  = 0x04000000 // hashst and hashchk work: on from boot
)

const sizeDEXCR = 2 * 8

// dexcrSet is NT_PPC_DEXCR: DEXCR and the hypervisor's HDEXCR, 16 bytes, read
// only; prctl restores it (Prctl). Aspects that limit speculation count as
// used. The hash instructions do nothing on CPUs without them, so NPHIE does
// not.
var dexcrSet = set{
	note: regset.PPC_DEXCR, name: "NT_PPC_DEXCR", feature: FeatureDEXCR, access: regset.Regset, bits: 64,
	size: fixed(sizeDEXCR), fields: words("dexcr", "hdexcr"),
	used: func(abi regset.ABI, data []byte) bool {
		return abi.Order().Uint64(data)&(dexcrIBRTPD|dexcrSRAPD) != 0
	},
}

// checkDEXCR sees to it that what NT_PPC_DEXCR says can be restored: an aspect
// that is not as at boot by a prctl mode, and active hash instructions with
// their key, for frames on the stack hold hashes.
func checkDEXCR(m *regset.Machine, s *regset.State, out *regset.Problems) {
	data := s.Find(regset.PPC_DEXCR)
	if len(data) != sizeDEXCR || !m.Has.Has(FeatureDEXCR) {
		return
	}
	r := &report{dexcrSet.name, out}
	o := s.ABI.Order()
	dexcr, hdexcr := o.Uint64(data), o.Uint64(data[8:])
	p, err := DecodePrctl(s.ABI, s.Find(regset.NotePPCPrctl))
	if err != nil {
		p = noPrctl
	}
	for _, a := range []struct {
		aspect int
		bit    uint64
		boot   bool
	}{
		{AspectIBRTPD, dexcrIBRTPD, false},
		{AspectSRAPD, dexcrSRAPD, false},
		{AspectNPHIE, dexcrNPHIE, true},
	} {
		on, mode := dexcr&a.bit != 0, p.DEXCR[a.aspect]
		switch {
		case mode == PrctlNone:
			if on != a.boot {
				r.add(aspects[a.aspect], "was changed and no prctl mode tells how to restore it")
			}
		case on != (mode&DEXCRSet != 0):
			r.add(aspects[a.aspect], "is not what its prctl mode says")
		}
	}
	if (dexcr|hdexcr)&dexcrNPHIE == 0 {
		return
	}
	if s.Find(regset.PPC_HASHKEYR) == nil {
		r.add("nphie", "hash instructions are on and their key, NT_PPC_HASHKEYR, is missing")
	} else if !m.Has.Has(FeatureHASHKEYR) {
		r.add("nphie", "hash instructions are on and the machine's kernel does not take their key")
	}
}

// hashesOff turns the hash instructions off in a task from a machine without
// them, which has no key: hashchk would find no hashes in its frames.
func hashesOff(m *regset.Machine, s *regset.State) {
	if s.ABI.WordSize() != 8 || !m.Has.Has(FeatureDEXCR) || s.Find(regset.PPC_HASHKEYR) != nil {
		return
	}
	p, err := DecodePrctl(s.ABI, s.Find(regset.NotePPCPrctl))
	if err != nil {
		p = noPrctl
	}
	p.DEXCR[AspectNPHIE] = dexcrEditable | DEXCRClear
	data := p.Encode(s.ABI)
	if err == nil {
		s.Put(regset.NotePPCPrctl, data)
	} else {
		s.Sets = append([]regset.Set{{Note: regset.NotePPCPrctl, Data: data}}, s.Sets...)
	}
}
