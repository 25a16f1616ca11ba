package x86

import (
	"testing"

	"cr/regset"

	"github.com/stretchr/testify/require"
)

// corrupt changes a state by a program of four bytes each: which set, where,
// and what. A set number of 0x80 and above cuts the set there instead.
func corrupt(s *regset.State, program []byte) {
	for ; len(program) >= 4; program = program[4:] {
		set := &s.Sets[int(program[0]&0x7f)%len(s.Sets)]
		at := int(le.Uint16(program[1:]))
		switch {
		case len(set.Data) == 0:
		case program[0]&0x80 != 0:
			set.Data = set.Data[:at%len(set.Data)]
		default:
			set.Data[at%len(set.Data)] = program[3]
		}
	}
}

// FuzzFit: whatever is in a state, Check and Fit do not panic, and what Fit
// gives is right for the machine and stays as it is.
func FuzzFit(f *testing.F) {
	f.Add(uint8(0), uint8(0), true, []byte{})
	f.Add(uint8(1), uint8(0), true, []byte{0, 200, 0, 0xff})
	f.Add(uint8(5), uint8(0), false, []byte{3, 0, 2, 0xff, 4, 1, 2, 3})
	f.Add(uint8(7), uint8(6), false, []byte{0x81, 9, 0, 0, 0x82, 16, 0, 0})
	f.Fuzz(func(t *testing.T, from, to uint8, wide bool, program []byte) {
		src, m := machines[int(from)%len(machines)], machines[int(to)%len(machines)]
		s := task32(src)
		if wide {
			s = task64(src)
		}
		s.Put(regset.NoteX86LDT, descs(userDesc{1, 0, 1, descSeg32}, userDesc{2, 0, 1, 2 << 1}))
		corrupt(s, program)
		for _, d := range Arch.Table(s.ABI) {
			data := s.Find(d.Note)
			for _, r := range d.Regs(s.ABI, data) {
				require.NotEmpty(t, r.Value)
			}
			d.Used(s.ABI, data)
			var out regset.Problems
			if d.Check(m, s.ABI, data, &out); len(out) == 0 && data != nil {
				d.Fit(m, s.ABI, data)
			}
		}
		fit, err := Arch.Fit(m, s)
		if err != nil {
			require.NotEmpty(t, Arch.Check(m, s))
			return
		}
		require.Empty(t, Arch.Check(m, fit))
		again, err := Arch.Fit(m, fit)
		require.NoError(t, err)
		requireSame(t, fit, again)
	})
}

// FuzzCalls: the calls that read and write a PRSTATUS set take any bytes.
func FuzzCalls(f *testing.F) {
	f.Add(make([]byte, 216))
	f.Add(make([]byte, 68))
	f.Add([]byte{1})
	f.Fuzz(func(t *testing.T, p []byte) {
		for _, abi := range []regset.ABI{regset.I386, regset.X86_64} {
			Arch.SetSyscall(abi, p, 0x1000, 39, [6]uint64{})
			_, _, in := Arch.Syscall(abi, p)
			require.False(t, in)
			Arch.SetResult(abi, p, -38)
			if _, ok := gprsOf(p); ok {
				require.Equal(t, int64(-38), Arch.Result(abi, p))
			}
			require.False(t, Arch.Rewind(abi, p))
			Arch.SP(abi, p)
		}
	})
}

// FuzzDescribe: whatever a CPU says, a state fits the machine.
func FuzzDescribe(f *testing.F) {
	f.Add(uint64(0x602e7), uint32(0xd), uint32(2), uint32(256), uint32(576), uint32(0), uint32(0))
	f.Add(uint64(7), uint32(0xd), uint32(2), ^uint32(0), ^uint32(0), uint32(0), uint32(0))
	f.Fuzz(func(t *testing.T, xcr0 uint64, fn, sub, a, b, c, d uint32) {
		has, xfeatures, components := Describe(append(serverLeaves(), Leaf{fn, sub, a, b, c, d}), xcr0)
		m := &regset.Machine{Arch: archX86_64, ABIs: []string{"x86_64"}, Has: has, XFeatures: xfeatures, XComponents: components}
		if !has.Has(FPU | SSE | LM) {
			return
		}
		fit, err := Arch.Fit(m, task64(qemu64))
		require.NoError(t, err)
		require.Empty(t, Arch.Check(m, fit))
	})
}
