package convert_test

import (
	"bytes"
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"cr/convert"
	"cr/image"
	"cr/image/imagetest"
	"cr/regset"
)

// FuzzRewrite moves an image with registers of any contents to every machine:
// it is refused, or what comes out is an image that the machine takes.
func FuzzRewrite(f *testing.F) {
	for i := range imagetest.ABIs {
		for j := range targets {
			f.Add(uint8(i), uint8(j), uint32(regset.PRSTATUS), []byte("registers"), uint64(1))
			f.Add(uint8(i), uint8(j), uint32(regset.X86_XSTATE), make([]byte, 832), ^uint64(0))
			f.Add(uint8(i), uint8(j), uint32(regset.PPC_VMX), make([]byte, 544), uint64(0))
		}
	}
	f.Fuzz(func(t *testing.T, abi, to uint8, note uint32, data []byte, used uint64) {
		m := imagetest.Image(imagetest.ABIs[int(abi)%len(imagetest.ABIs)])
		machine := targets[int(to)%len(targets)]
		m.CPUs[0].State.Put(regset.Note(note), data)
		m.CPUs[0].State.Used = regset.Mask(used)
		if m.Validate() != nil {
			return
		}
		img, rd, err := image.Read(bytes.NewReader(imagetest.Bytes(m)))
		require.NoError(t, err)
		var out bytes.Buffer
		if err := convert.Rewrite(machine, img, rd, &out); err != nil {
			require.Zero(t, out.Len(), "bytes were written before it was refused")
			return
		}
		again, rd, err := image.Read(bytes.NewReader(out.Bytes()))
		require.NoError(t, err)
		for err == nil {
			_, err = rd.Next()
		}
		require.Equal(t, io.EOF, err)
		require.Empty(t, convert.Check(machine, again))
	})
}

// targets are the machines that images are moved to.
var targets = []*regset.Machine{power10, power8, g5, g4, server, laptop, nehalem, pentium}

// FuzzReadMachine reads what a file says of a machine.
func FuzzReadMachine(f *testing.F) {
	for _, m := range targets {
		var b bytes.Buffer
		require.NoError(f, convert.WriteMachine(&b, m))
		f.Add(b.Bytes())
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := convert.ReadMachine(bytes.NewReader(b))
		if err != nil {
			return
		}
		for _, abi := range imagetest.ABIs {
			convert.Check(m, imagetest.Image(abi))
		}
		var once, twice bytes.Buffer
		require.NoError(t, convert.WriteMachine(&once, m))
		again, err := convert.ReadMachine(bytes.NewReader(once.Bytes()))
		require.NoError(t, err)
		require.NoError(t, convert.WriteMachine(&twice, again))
		require.Equal(t, once.String(), twice.String())
	})
}

// FuzzStack looks for the auxiliary vector in whatever lies on a stack.
func FuzzStack(f *testing.F) {
	for i, abi := range imagetest.ABIs {
		b := make([]byte, 64*abi.WordSize())
		abi.Order().PutUint32(b[abi.WordSize()-4:], 1)
		f.Add(uint8(i), uint64(0x7ffe0000), b)
		f.Add(uint8(i), ^uint64(0)-15, bytes.Repeat([]byte{1}, 100))
	}
	f.Fuzz(func(t *testing.T, abi uint8, sp uint64, stack []byte) {
		read := func(addr uint64, b []byte) error {
			if addr < sp || addr-sp > uint64(len(stack)) || uint64(len(b)) > uint64(len(stack))-(addr-sp) {
				return io.ErrUnexpectedEOF
			}
			copy(b, stack[addr-sp:])
			return nil
		}
		a := imagetest.ABIs[int(abi)%len(imagetest.ABIs)]
		at, auxv, err := convert.Auxv(a, sp, read)
		if err != nil {
			return
		}
		require.LessOrEqual(t, len(auxv), len(stack))
		for _, m := range []*regset.Machine{power8, g4, nehalem} {
			cpu, err := convert.LikeCPU(m, m)
			require.NoError(t, err)
			if _, patches, err := cpu.Tell(a, at, auxv, read); err == nil {
				for _, p := range patches {
					require.GreaterOrEqual(t, p.Addr, sp)
				}
			}
		}
	})
}
