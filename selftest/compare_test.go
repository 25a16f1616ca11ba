package selftest

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"cr/regset"
)

var allABIs = []regset.ABI{regset.I386, regset.X86_64, regset.PPC, regset.PPC64, regset.PPC64LE}

// eachClass calls f for every class that an ABI has.
func eachClass(t *testing.T, f func(t *testing.T, abi regset.ABI, c *Class, regs []Reg)) {
	t.Helper()
	for _, abi := range allABIs {
		for _, c := range append(classes(abi), debugClass) {
			regs := c.Regs(abi, func(string) uint64 { return 0x10020040 })
			if regs == nil {
				continue
			}
			t.Run(abi.String()+"/"+c.Name, func(t *testing.T) { f(t, abi, c, regs) })
		}
	}
}

func bodyOf(regs []Reg, w which) []byte {
	var b []byte
	for i := range regs {
		if w == patternQ {
			b = append(b, regs[i].Q...)
		} else {
			b = append(b, regs[i].P...)
		}
	}
	return b
}

// TestCompareSeesEveryBit flips each bit of each register: the comparison must
// name the register, unless the bit does not count.
func TestCompareSeesEveryBit(t *testing.T) {
	eachClass(t, func(t *testing.T, abi regset.ABI, c *Class, regs []Reg) {
		for _, w := range []which{patternP, afterCall, patternQ} {
			body := bodyOf(regs, w)
			require.Empty(t, compare(abi, regs, body, w))
			at := 0
			for i := range regs {
				r := &regs[i]
				mask := r.Mask
				if w == afterCall && r.CallMask != nil {
					mask = r.CallMask
				}
				for bit := 0; bit < 8*len(r.P); bit++ {
					body[at+bit/8] ^= 1 << uint(bit%8)
					lines := compare(abi, regs, body, w)
					if mask != nil && mask[bit/8]>>uint(bit%8)&1 == 0 {
						require.Empty(t, lines, "%s bit %d", r.Name, bit)
					} else {
						require.Len(t, lines, 1, "%s bit %d", r.Name, bit)
						require.True(t, strings.HasPrefix(lines[0], r.Name+": want "), lines[0])
					}
					body[at+bit/8] ^= 1 << uint(bit%8)
				}
				at += len(r.P)
			}
		}
	})
}

// TestPatternsDiffer: registers that were swapped, and halves of one that were,
// must be seen.
func TestPatternsDiffer(t *testing.T) {
	eachClass(t, func(t *testing.T, abi regset.ABI, c *Class, regs []Reg) {
		if class(abi, c.Name) == nil || c.Name == "mem" || c.Name == "sig" || c.Name == "files" {
			return // no registers
		}
		l := &layout{abi: abi}
		seen := map[string]string{}
		for i := range regs {
			r := &regs[i]
			if len(r.P)%4 != 0 || r.Mask != nil || i >= 64 {
				continue
			}
			filled := l.filled(r.Name, len(r.P))
			if string(filled.P) != string(r.P) {
				continue // it has values of its own
			}
			for half := 0; half < len(r.P); half += 4 {
				for _, b := range [][]byte{r.P, r.Q} {
					word := string(b[half : half+4])
					require.Empty(t, seen[word], "%s, bytes from %d on", r.Name, half)
					seen[word] = r.Name
				}
			}
		}
	})
}

func TestValueIsMostSignificantFirst(t *testing.T) {
	bytes := []byte{1, 2, 3, 4, 5, 6, 7, 8}
	for _, c := range []struct {
		abi  regset.ABI
		unit int
		want string
	}{
		{regset.PPC64, 0, "0102030405060708"},
		{regset.PPC64LE, 0, "0807060504030201"},
		{regset.PPC64LE, 4, "0403020108070605"},
		{regset.X86_64, 1, "0102030405060708"},
	} {
		r := Reg{Unit: c.unit}
		require.Equal(t, c.want, fmt.Sprintf("%x", r.value(c.abi, bytes)), "%s, unit %d", c.abi, c.unit)
	}
}

func TestParseDumps(t *testing.T) {
	whole := func(abi regset.ABI, result int64, body string) string {
		return magic + string(number(abi.Order(), 8, uint64(result))) + body
	}
	for _, abi := range allABIs {
		out := whole(abi, -38, "abcd") + whole(abi, 7, "efgh")
		dumps, err := parseDumps(abi, []byte(out), 4)
		require.NoError(t, err)
		require.Equal(t, []dump{{-38, []byte("abcd")}, {7, []byte("efgh")}}, dumps)

		_, err = parseDumps(abi, []byte(out[:len(out)-1]), 4)
		require.ErrorContains(t, err, "dump 2 is cut: 19 of 20 bytes")
		_, err = parseDumps(abi, []byte(strings.Replace(out, "CRDUMP", "CRDUMb", 1)), 4)
		require.ErrorContains(t, err, `dump 1 begins with "CRDUMb`)
	}
}
