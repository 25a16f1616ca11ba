package x86

import (
	"fmt"

	"cr/regset"
)

// State components of XSAVE that user tasks may have (enum xfeature of
// include/asm/fpu/types.h; Intel SDM volume 1, 13.1).
const (
	xX87      = 0
	xSSE      = 1
	xAVX      = 2
	xBndRegs  = 3
	xBndCSR   = 4
	xOpmask   = 5
	xZMMHi256 = 6
	xHi16ZMM  = 7
	xPKRU     = 9
	xTileCfg  = 17
	xTileData = 18
	xAPX      = 19

	xMax = 63 // bit 63 says that an area is compacted
)

// xcomponent is what is known of a component. One that is missing here moves
// all the same, between machines that both have it.
type xcomponent struct {
	name    string
	feature regset.Mask
	regs    []xregs
}

// xregs is an array of like registers.
type xregs struct {
	name  string // a format if count is not 1
	first int
	count int
	size  int // bytes
}

var xcomponents = map[int]xcomponent{
	xAVX:      {"YMM_Hi128", AVX, []xregs{{"ymm%dh", 0, 16, 16}}},
	xBndRegs:  {"BNDREGS", MPX, []xregs{{"bnd%d", 0, 4, 16}}},
	xBndCSR:   {"BNDCSR", MPX, []xregs{{"bndcfgu", 0, 1, 8}, {"bndstatus", 0, 1, 8}}},
	xOpmask:   {"opmask", AVX512F, []xregs{{"k%d", 0, 8, 8}}},
	xZMMHi256: {"ZMM_Hi256", AVX512F, []xregs{{"zmm%dh", 0, 16, 32}}},
	xHi16ZMM:  {"Hi16_ZMM", AVX512F, []xregs{{"zmm%d", 16, 16, 64}}},
	xPKRU:     {"PKRU", PKU, []xregs{{"pkru", 0, 1, 4}}},
	xTileCfg:  {"XTILECFG", AMX, []xregs{{"tilecfg", 0, 1, 64}}},
	xTileData: {"XTILEDATA", AMX, []xregs{{"tmm%d", 0, 8, 1024}}},
	xAPX:      {"APX", APX, []xregs{{"r%d", 16, 16, 8}}},
}

// xname is a component's name, or its number.
func xname(n int) string {
	if c, ok := xcomponents[n]; ok {
		return c.name
	}
	return fmt.Sprintf("component %d", n)
}

// list gives the registers in the bytes of a component; those that lie beyond
// their end are left out.
func (c xcomponent) list(data []byte) []regset.Reg {
	var regs []regset.Reg
	for _, a := range c.regs {
		for i := 0; i < a.count && len(data) >= a.size; i++ {
			name := a.name
			if a.count != 1 {
				name = fmt.Sprintf(a.name, a.first+i)
			}
			regs = append(regs, reg(name, data[:a.size]))
			data = data[a.size:]
		}
	}
	return regs
}

// pkruDefault allows key 0 alone: what exec leaves in PKRU (init_pkru_value).
const pkruDefault = 0x55555554

// xinitial reports whether a component's bytes are worth no more than its
// absence. All begin as zeros; PKRU may also be the kernel's default, since
// a machine without keys allows key 0 and has no other.
func xinitial(n int, data []byte) bool {
	if n == xPKRU && len(data) >= 4 && le.Uint32(data) == pkruDefault {
		data = data[4:]
	}
	return zero(data)
}
