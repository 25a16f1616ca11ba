package kernel

import (
	"bytes"
	"debug/elf"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"cr/regset"
)

// Every stub is a program that the ELF reader of the standard library
// understands, whose entry is its code.
func TestStubELF(t *testing.T) {
	kinds := []stubKind{{regset.ABI{Machine: regset.EMPPC64, BigEndian: true}, true, 0}}
	for _, abi := range allABIs {
		kinds = append(kinds, stubKind{abi: abi})
	}
	for _, kind := range kinds {
		abi := kind.abi
		t.Run(fmt.Sprint(abi, kind.elfV1), func(t *testing.T) {
			b, err := stubELF(kind)
			require.NoError(t, err)
			f, err := elf.NewFile(bytes.NewReader(b))
			require.NoError(t, err)
			require.Equal(t, elf.Machine(abi.Machine), f.Machine)
			require.Equal(t, elf.ET_EXEC, f.Type)
			require.Equal(t, abi.Order(), f.ByteOrder)
			require.Len(t, f.Progs, 2)
			load := f.Progs[0]
			entry := f.Entry
			if kind.elfV1 {
				var descriptor [8]byte
				_, err := load.ReadAt(descriptor[:], int64(entry-load.Vaddr))
				require.NoError(t, err)
				entry = abi.Order().Uint64(descriptor[:])
			}
			require.Equal(t, stubText(abi), entry)
			require.Equal(t, elf.PF_R|elf.PF_X, load.Flags)
			require.Equal(t, uint64(len(b)), load.Filesz)
			text := make([]byte, len(stubCodes[abi].text))
			_, err = load.ReadAt(text, int64(entry-load.Vaddr))
			require.NoError(t, err)
			require.Equal(t, stubCodes[abi].text, text)
			require.Equal(t, elf.PF_R|elf.PF_W, f.Progs[1].Flags, "a stack that is not executable")
			require.Less(t, stubCodes[abi].init, len(text))
		})
	}
}

// The instructions that jumpTo makes, as the manuals have them.
func TestJumpTo(t *testing.T) {
	const from, to = 0x1000, 0x123456789abcd0
	for _, c := range []struct {
		name string
		want []byte
	}{
		{"x86_64", []byte{0x48, 0xb8, 0xd0, 0xbc, 0x9a, 0x78, 0x56, 0x34, 0x12, 0x00, 0xff, 0xe0}},
		{"i386", []byte{0xe9, 0xcb, 0xac, 0x9a, 0x78}},
		{"ppc", []byte{0x3d, 0x80, 0x78, 0x9a, 0x61, 0x8c, 0xbc, 0xd0, 0x7d, 0x89, 0x03, 0xa6, 0x4e, 0x80, 0x04, 0x20}},
		{"ppc64", []byte{0x3d, 0x80, 0x00, 0x12, 0x61, 0x8c, 0x34, 0x56, 0x79, 0x8c, 0x07, 0xc6, 0x65, 0x8c, 0x78, 0x9a,
			0x61, 0x8c, 0xbc, 0xd0, 0x7d, 0x89, 0x03, 0xa6, 0x4e, 0x80, 0x04, 0x20}},
	} {
		for _, abi := range allABIs {
			if abi.String() != c.name {
				continue
			}
			got, err := jumpTo(abi, from, to)
			require.NoError(t, err)
			require.Equal(t, c.want, got, c.name)
		}
	}
}
