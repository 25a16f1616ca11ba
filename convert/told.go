package convert

import (
	"fmt"
	"strings"

	"cr/image"
	"cr/ppc"
	"cr/regset"
	"cr/x86"
)

// Types of entries of the auxiliary vector (include/uapi/linux/auxvec.h).
const (
	atNull         = 0
	atIgnore       = 1
	atPlatform     = 15
	atHWCAP        = 16
	atDCacheBSize  = 19
	atBasePlatform = 24
	atRandom       = 25
	atHWCAP2       = 26
	atHWCAP3       = 29
	atHWCAP4       = 30
	atExecFN       = 31
)

// Warnings are the reasons why programs of an image, though the machine can
// take their state, may fail on it later: they were told of features that the
// machine lacks, and nothing shows whether they have chosen code that uses
// them. On powerpc it is the auxiliary vector that tells; on x86 mostly cpuid,
// of which the image shows the components of XSAVE.
//
// Programs that were started by cr run --cpu were told of no more than their
// user wanted.
func Warnings(m *regset.Machine, img *image.Image) Reasons {
	var out Reasons
	for _, p := range img.Processes {
		if p.State == image.Zombie {
			continue
		}
		state := &img.CPUOf(p.PID).State
		if !m.Runs(state.ABI) {
			continue
		}
		auxv := vector{state.ABI, img.MM(p.MM).Auxv}
		if block := auxv.value(atDCacheBSize); block != 0 && m.CacheBlock != 0 && block != uint64(m.CacheBlock) {
			out.add(p.PID, fmt.Errorf("was told that cache blocks are of %d bytes, those of the machine are of %d; "+
				"it fails if it clears memory with dcbz, as the memset of the C library does", block, m.CacheBlock))
		}
		arch, told := tasksTold(m, auxv, state)
		if p.Told != 0 && !state.ABI.IsPPC() { // by cpuid, and exactly that
			told = p.Told &^ m.Has &^ x86.Untold
		}
		if told &^= state.Used; told == 0 {
			continue // what is in use is no warning but a reason
		}
		out.add(p.PID, fmt.Errorf("was told of %s, which the machine lacks; it fails if it has chosen code that uses them",
			strings.Join(regset.Names(arch, told), ", ")))
	}
	return out
}

// tasksTold gives the features that a process was told of and the machine lacks.
func tasksTold(m *regset.Machine, v vector, state *regset.State) (regset.Arch, regset.Mask) {
	hwcap, hwcap2 := v.value(atHWCAP), v.value(atHWCAP2)
	if state.ABI.IsPPC() {
		return ppc.Arch, ppc.Told(m, hwcap, hwcap2)
	}
	return x86.Arch, (x86.FromHWCAP(hwcap, hwcap2) | x86.Enabled(state)) &^ m.Has
}

// vector is an auxiliary vector in the layout of an ABI.
type vector struct {
	abi regset.ABI
	b   []byte
}

func (v vector) word(i int) uint64 {
	if v.abi.WordSize() == 4 {
		return uint64(v.abi.Order().Uint32(v.b[4*i:]))
	}
	return v.abi.Order().Uint64(v.b[8*i:])
}

func (v vector) setWord(i int, value uint64) {
	if v.abi.WordSize() == 4 {
		v.abi.Order().PutUint32(v.b[4*i:], uint32(value))
		return
	}
	v.abi.Order().PutUint64(v.b[8*i:], value)
}

// entries is how many entries there are, without the one that ends the vector.
func (v vector) entries() int {
	size := 2 * v.abi.WordSize()
	for i := 0; i < len(v.b)/size; i++ {
		if v.word(2*i) == atNull {
			return i
		}
	}
	return len(v.b) / size
}

// value is that of the first entry of a type, 0 if there is none.
func (v vector) value(kind uint64) uint64 {
	for i := 0; i < v.entries(); i++ {
		if v.word(2*i) == kind {
			return v.word(2*i + 1)
		}
	}
	return 0
}
