package ppc

import (
	"bytes"
	"encoding/binary"
	"testing"

	"cr/regset"

	"github.com/stretchr/testify/require"
)

// encode and decode turn states into a fuzzer's bytes and back: a byte for the
// ABI, the features used, and sets with note and length before them. States are
// large: fuzz with -fuzzminimizetime 10x.
func encode(s *regset.State) []byte {
	b := make([]byte, 9)
	for i, abi := range abis {
		if abi == s.ABI {
			b[0] = byte(i)
		}
	}
	binary.BigEndian.PutUint64(b[1:], uint64(s.Used))
	for _, set := range s.Sets {
		head := make([]byte, 6)
		binary.BigEndian.PutUint32(head, uint32(set.Note))
		binary.BigEndian.PutUint16(head[4:], uint16(len(set.Data)))
		b = append(append(b, head...), set.Data...)
	}
	return b
}

func decode(b []byte) *regset.State {
	if len(b) < 9 {
		return nil
	}
	s := &regset.State{ABI: abis[int(b[0])%len(abis)], Used: regset.Mask(binary.BigEndian.Uint64(b[1:]))}
	for b = b[9:]; len(b) >= 6; {
		note, n := regset.Note(binary.BigEndian.Uint32(b)), int(binary.BigEndian.Uint16(b[4:]))
		b = b[6:]
		if n > len(b) {
			n = len(b)
		}
		s.Sets = append(s.Sets, regset.Set{Note: note, Data: b[:n:n]})
		b = b[n:]
	}
	return s
}

func FuzzCheck(f *testing.F) {
	for _, abi := range abis {
		f.Add(encode(unused(abi)))
		s := unused(abi)
		s.Put(regset.PRSTATUS, inCall(abi, 0xc00, 512, crSO))
		s.Put(regset.NoteHWDebug, EncodeHWDebug(abi, []HWBreakpoint{{Version: 1, TriggerType: TriggerRead, AddrMode: 1, Addr: 0x1000, Addr2: 0x1008}}))
		s.Put(regset.PRFPREG, ones(sizeFPR))
		s.Put(regset.PPC_VMX, ones(sizeVMX))
		f.Add(encode(s))
	}
	machines := []*regset.Machine{power10(), power8(), g5(), g4(), e500v2(), {}}
	f.Fuzz(func(t *testing.T, b []byte) {
		s := decode(b)
		if s == nil {
			return
		}
		for _, d := range Arch.Table(s.ABI) {
			for _, set := range s.Sets {
				d.Regs(s.ABI, set.Data)
				d.Used(s.ABI, set.Data)
			}
		}
		InTransaction(s)
		for _, m := range machines {
			p := Arch.Check(m, s)
			fitted, err := Arch.Fit(m, s)
			if len(p) != 0 {
				require.Equal(t, p, err)
				continue
			}
			require.NoError(t, err)
			require.Empty(t, Arch.Check(m, fitted))
			msr := gprs(fitted.ABI, fitted.Find(regset.PRSTATUS)).get(ptMSR)
			require.Zero(t, msr&^(msrSF|msrPR|msrLE))
			again, err := Arch.Fit(m, fitted)
			require.NoError(t, err)
			require.Equal(t, fitted.Sets, again.Sets)
		}
	})
}

func FuzzSyscall(f *testing.F) {
	for _, abi := range abis {
		f.Add(abi == regset.PPC, abi.BigEndian, inCall(abi, 0xc00, 512, crSO), int64(-4))
		f.Add(abi == regset.PPC, abi.BigEndian, inCall(abi, 0x3000, 512, 0), int64(7))
	}
	f.Fuzz(func(t *testing.T, small, big bool, prstatus []byte, result int64) {
		abi := regset.PPC64LE
		switch {
		case small:
			abi = regset.PPC
		case big:
			abi = regset.PPC64
		}
		_, _, in := Arch.Syscall(abi, prstatus)
		data := append([]byte(nil), prstatus...)
		if Arch.Rewind(abi, data) {
			require.True(t, in)
			require.False(t, Arch.Rewind(abi, data))
		} else {
			require.True(t, bytes.Equal(prstatus, data), "untouched")
		}
		Arch.SetResult(abi, prstatus, result)
		_, _, in = Arch.Syscall(abi, prstatus)
		require.False(t, in)
		require.False(t, Arch.Rewind(abi, prstatus))
	})
}
