package ppc

import (
	"fmt"

	"cr/regset"
)

// PrctlNone stands for a mode that the kernel does not have.
const PrctlNone = 1<<32 - 1

// Values of the modes (include/uapi/linux/prctl.h).
const (
	fpexcSW      = 0x80     // PR_FP_EXC_SW_ENABLE: the enable bits are in the mode (SPE)
	fpexcEnables = 0x1f0000 // PR_FP_EXC_DIV to PR_FP_EXC_INV
	fpexcPrecise = 3        // PR_FP_EXC_PRECISE

	unalignBits = 3 // PR_UNALIGN_NOPRINT, PR_UNALIGN_SIGBUS

	endianBig    = 0 // PR_ENDIAN_BIG
	endianLittle = 1 // PR_ENDIAN_LITTLE

	// DEXCRSet and its kin are PR_PPC_DEXCR_CTRL_SET, _CLEAR, _SET_ONEXEC and
	// _CLEAR_ONEXEC.
	DEXCRSet         = 0x2
	DEXCRClear       = 0x4
	DEXCRSetOnExec   = 0x8
	DEXCRClearOnExec = 0x10
	dexcrEditable    = 0x1
	dexcrCtrl        = 0x1f
)

// Aspects, the second argument of PR_PPC_GET_DEXCR and index of Prctl.DEXCR.
const (
	AspectSBHE = iota
	AspectIBRTPD
	AspectSRAPD
	AspectNPHIE

	nAspects
)

var aspects = [nAspects]string{"sbhe", "ibrtpd", "srapd", "nphie"}

// Prctl is what NotePPCPrctl holds: seven 32-bit words in the order of the
// fields and in the task's byte order. A word is the value that the prctl gives,
// or PrctlNone where it fails.
type Prctl struct {
	FPExc   uint32           // PR_GET_FPEXC
	Unalign uint32           // PR_GET_UNALIGN
	Endian  uint32           // PR_GET_ENDIAN; never set, it is the ABI's
	DEXCR   [nAspects]uint32 // PR_PPC_GET_DEXCR; set what differs from the task's own
}

const sizePrctl = (3 + nAspects) * 4

var noPrctl = Prctl{
	FPExc: PrctlNone, Unalign: PrctlNone, Endian: PrctlNone,
	DEXCR: [nAspects]uint32{PrctlNone, PrctlNone, PrctlNone, PrctlNone},
}

// DecodePrctl reads the bytes of NotePPCPrctl. It fails if there are not 28.
func DecodePrctl(abi regset.ABI, data []byte) (Prctl, error) {
	var p Prctl
	if len(data) != sizePrctl {
		return p, fmt.Errorf("powerpc prctl modes: %d bytes, not %d", len(data), sizePrctl)
	}
	for i, w := range p.words() {
		*w = abi.Order().Uint32(data[4*i:])
	}
	return p, nil
}

// Encode gives the bytes of NotePPCPrctl.
func (p Prctl) Encode(abi regset.ABI) []byte {
	data := make([]byte, sizePrctl)
	for i, w := range p.words() {
		abi.Order().PutUint32(data[4*i:], *w)
	}
	return data
}

func (p *Prctl) words() []*uint32 {
	return []*uint32{&p.FPExc, &p.Unalign, &p.Endian, &p.DEXCR[0], &p.DEXCR[1], &p.DEXCR[2], &p.DEXCR[3]}
}

// software reports whether the mode holds SPE's exception enables.
func (p Prctl) software() bool { return p.FPExc != PrctlNone && p.FPExc&fpexcSW != 0 }

func (p Prctl) used() regset.Mask {
	if p.software() {
		return FeatureSPE
	}
	return 0
}

// prctlSet is NotePPCPrctl, which the task reads and restores itself.
var prctlSet = set{
	note: regset.NotePPCPrctl, name: "PPC_PRCTL", access: regset.ByCall,
	size: fixed(sizePrctl),
	fields: func(regset.ABI) []field {
		return array(append([]string{"fpexc", "unalign", "endian"}, aspects[:]...), 0, 4)
	},
	used: func(abi regset.ABI, data []byte) bool {
		p, _ := DecodePrctl(abi, data)
		return p.FPExc != PrctlNone && p.FPExc != fpexcPrecise || p.Unalign != PrctlNone && p.Unalign != 0
	},
	check: checkPrctl,
	fit:   fitPrctl,
}

func checkPrctl(m *regset.Machine, abi regset.ABI, data []byte, r *report) {
	p, _ := DecodePrctl(abi, data)
	switch {
	case p.FPExc == PrctlNone:
	case p.software():
		if p.FPExc&^(fpexcSW|fpexcEnables) != 0 {
			r.add("fpexc", fmt.Sprintf("%#x is no mode", p.FPExc))
		}
		if !m.Has.Has(FeatureSPE) {
			r.add("fpexc", "exceptions enabled by software need SPE")
		}
	case p.FPExc > fpexcPrecise:
		r.add("fpexc", fmt.Sprintf("%#x is no mode", p.FPExc))
	}
	if p.Unalign != PrctlNone && p.Unalign&^unalignBits != 0 {
		r.add("unalign", fmt.Sprintf("%#x is no mode", p.Unalign))
	}
	want := uint32(endianLittle)
	if abi.BigEndian {
		want = endianBig
	}
	if p.Endian != PrctlNone && p.Endian != want {
		r.add("endian", fmt.Sprintf("mode %#x in a task of ABI %s", p.Endian, abi))
	}
	for i, c := range p.DEXCR {
		name := aspects[i]
		both := func(a uint32) bool { return c&a == a }
		switch {
		case c == PrctlNone:
		case c&^dexcrCtrl != 0 || both(DEXCRSet|DEXCRClear) || both(DEXCRSetOnExec|DEXCRClearOnExec):
			r.add(name, fmt.Sprintf("%#x is no control", c))
		case c&DEXCRSet != 0 && (i == AspectIBRTPD || i == AspectSRAPD) && !m.Has.Has(FeatureDEXCR):
			r.add(name, "limits speculation and the machine has no DEXCR")
		}
	}
}

// fitPrctl leaves of the DEXCR what the machine lets a task edit.
func fitPrctl(m *regset.Machine, abi regset.ABI, data []byte) []byte {
	p, _ := DecodePrctl(abi, data)
	for i, c := range p.DEXCR {
		if !m.Has.Has(FeatureDEXCR) || c != PrctlNone && c&dexcrEditable == 0 {
			p.DEXCR[i] = PrctlNone
		}
	}
	return p.Encode(abi)
}
