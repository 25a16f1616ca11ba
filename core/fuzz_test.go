package core_test

import (
	"bytes"
	"debug/elf"
	"testing"

	"github.com/stretchr/testify/require"

	"cr/core"
	"cr/image"
	"cr/image/imagetest"
	"cr/regset"
)

// FuzzWrite makes core files of images whose registers, names and mappings are
// anything: they are ELF files all the same.
func FuzzWrite(f *testing.F) {
	for i := range imagetest.ABIs {
		f.Add(uint8(i), uint32(regset.PRSTATUS), []byte("registers"), "job", uint64(imagetest.PageSize))
		f.Add(uint8(i), uint32(regset.X86_XSTATE), make([]byte, 600), "a\nb", uint64(1<<40))
	}
	f.Fuzz(func(t *testing.T, abi uint8, note uint32, data []byte, name string, size uint64) {
		m := imagetest.Image(imagetest.ABIs[int(abi)%len(imagetest.ABIs)])
		m.CPUs[0].State.Put(regset.Note(note), data)
		m.Files[0].Path = "/" + name
		vmas := m.MMs[0].VMAs
		vmas[0].Name = name
		vmas[5].End = vmas[5].Start + size%(1<<20)&^(imagetest.PageSize-1) + 2*imagetest.PageSize
		if m.Validate() != nil {
			return
		}
		img, rd, err := image.Read(bytes.NewReader(imagetest.Bytes(m)))
		require.NoError(t, err)
		var file memFile
		if err := core.Write(&file, img, rd, imagetest.Root); err != nil {
			return
		}
		_, err = elf.NewFile(bytes.NewReader(file.data))
		require.NoError(t, err)
	})
}
