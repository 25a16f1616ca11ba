package selftest

import (
	"bytes"
	"encoding/binary"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"

	"cr/regset"
)

func TestLacks(t *testing.T) {
	var auxv bytes.Buffer
	for _, e := range [][2]uint64{{6, 4096}, {atHWCAP, ppcFPU | ppcVSX}, {atHWCAP2, ppc2TAR}, {0, 0}} {
		for _, v := range e {
			word := make([]byte, 8)
			binary.LittleEndian.PutUint64(word, v)
			auxv.Write(word[:unsafe.Sizeof(uintptr(0))])
		}
	}
	h := &host{flags: map[string]bool{}}
	h.readAuxv(auxv.Bytes())
	h.readCPUInfo([]byte("processor\t: 0\nmodel name\t: pku of a kind\nflags\t\t: fpu sse avx512bw\n\nflags : pku\n"))
	for _, c := range []struct {
		abi   regset.ABI
		class string
		want  string
	}{
		{regset.PPC, "gpr", ""},
		{regset.PPC, "fpr", ""},
		{regset.PPC, "vmx", "AT_HWCAP 0x8000080 has no PPC_FEATURE_HAS_ALTIVEC"},
		{regset.PPC64, "vsx", ""},
		{regset.PPC64, "tar", ""},
		{regset.PPC64, "dscr", "AT_HWCAP2 0x4000000 has no PPC_FEATURE2_DSCR"},
		{regset.X86_64, "sse", ""},
		{regset.X86_64, "avx512", ""},
		{regset.X86_64, "pkru", "/proc/cpuinfo has no flag ospke"},
	} {
		require.Equal(t, c.want, h.lacks(class(c.abi, c.class).Needs), "%s %s", c.abi, c.class)
	}
}
