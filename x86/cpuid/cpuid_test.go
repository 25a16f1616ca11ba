//go:build (amd64 || 386) && gc

package cpuid

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"cr/regset"
	"cr/x86"

	"github.com/stretchr/testify/require"
)

// TestDescribe compares what cpuid says with what the kernel says of it. The
// kernel may hide a feature but has none that cpuid does not show.
func TestDescribe(t *testing.T) {
	info, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		t.Skip("no /proc/cpuinfo to compare with:", err)
	}
	line := regexp.MustCompile(`(?m)^flags\s*:(.*)$`).FindSubmatch(info)
	require.NotNil(t, line)
	flags := map[string]bool{}
	for _, f := range strings.Fields(string(line[1])) {
		flags[f] = true
	}
	flags["sse3"] = flags["pni"]
	flags["shstk"] = flags["user_shstk"]
	// Those of more than one bit.
	flags["amx_tile"] = flags["amx_tile"] && flags["amx_int8"] && flags["amx_bf16"]
	flags["avx512_vbmi2"] = flags["avx512_vbmi2"] && flags["avx512_bitalg"] && flags["avx512_vpopcntdq"]
	flags["pku"] = flags["pku"] && flags["ospke"]

	has, xfeatures, components := x86.Describe(Leaves(), XCR0())
	for _, f := range x86.Arch.Features() {
		if flags[f.Name] {
			require.True(t, has.Has(f.Bit), f.Name)
		}
	}
	require.True(t, has.Has(x86.FPU|x86.SSE2))
	require.Equal(t, xfeatures != 0, has.Has(x86.XSAVE))
	for _, c := range components {
		require.NotZero(t, xfeatures>>uint(c.Number)&1)
	}
	if has.Has(x86.AVX) {
		require.Contains(t, components, regset.XComponent{Number: 2, Offset: 576, Size: 256})
	}
}

func TestMXCSRMask(t *testing.T) {
	const everyone = 0xffbf &^ 0x40 // but DAZ, which the first SSE had not
	mask := MXCSRMask()
	require.Equal(t, uint32(everyone), mask&everyone)
	require.Zero(t, mask>>18, "bits that no CPU has")
}

func TestXStateSize(t *testing.T) {
	_, _, components := x86.Describe(Leaves(), XCR0())
	end := 0
	for _, c := range components {
		if c.Offset+c.Size > end {
			end = c.Offset + c.Size
		}
	}
	if end == 0 {
		t.Skip("no components beyond SSE")
	}
	require.Equal(t, end, XStateSize())
}
