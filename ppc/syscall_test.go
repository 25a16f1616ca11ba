package ppc

import (
	"testing"

	"cr/regset"

	"github.com/stretchr/testify/require"
)

// inCall is a task that came in by trap with call 3 and arguments 1 to 6, and
// r3 and CR as given.
func inCall(abi regset.ABI, trap, r3, cr uint64) []byte {
	data := prstatus(abi)
	Arch.SetSyscall(abi, data, 0x1000, 3, [6]uint64{1, 2, 3, 4, 5, 6})
	g := gprs(abi, data)
	g.set(ptNIP, 0x1004)
	g.set(ptTrap, trap)
	g.set(3, r3)
	g.set(ptCCR, cr)
	g.set(ptResult, 77)
	return data
}

func TestSyscall(t *testing.T) {
	for _, abi := range abis {
		for _, tt := range []struct {
			name string
			trap uint64
			in   bool
		}{
			{"sc", 0xc00, true},
			{"scv", 0x3000, true},
			{"sc, flag bits", 0xc08, true},
			{"sc, after sigreturn", 0xc01, false},
			{"page fault", 0x300, false},
			{"decrementer", 0x900, false},
			{"none", 0, false},
		} {
			t.Run(abi.String()+"/"+tt.name, func(t *testing.T) {
				nr, args, in := Arch.Syscall(abi, inCall(abi, tt.trap, 0xdead, 0))
				require.Equal(t, tt.in, in)
				if in {
					require.Equal(t, 3, nr)
					require.Equal(t, [6]uint64{1, 2, 3, 4, 5, 6}, args)
				}
			})
		}
	}
}

func TestSetSyscall(t *testing.T) {
	for _, abi := range abis {
		data := inCall(abi, 0xc00, 512, crSO|0x2)
		Arch.SetSyscall(abi, data, 0x2000, 319, [6]uint64{10, 11, 12, 13, 14, ^uint64(0)})
		g := gprs(abi, data)
		require.Equal(t, uint64(0x2000), Arch.PC(abi, data), abi)
		require.Equal(t, uint64(319), g.get(0))
		for i := 0; i < 5; i++ {
			require.Equal(t, uint64(10+i), g.get(3+i))
		}
		require.Equal(t, ^uint64(0)>>uint(64-8*abi.WordSize()), g.get(8))
		require.Equal(t, uint64(10), g.get(ptOrigR3))
		require.Equal(t, uint64(2), g.get(ptCCR), "SO of CR0 is clear, the rest stays")
		require.Zero(t, g.get(ptTrap))
		require.Equal(t, uint64(0x20000000), Arch.SP(abi, data))
		Arch.SetPC(abi, data, 0x3000)
		require.Equal(t, uint64(0x3000), Arch.PC(abi, data))
		Arch.SetSP(abi, data, 0x4000)
		require.Equal(t, uint64(0x4000), Arch.SP(abi, data))
	}
	require.Equal(t, []byte{0x44, 0, 0, 2}, Arch.SyscallInsn(regset.PPC))
	require.Equal(t, []byte{2, 0, 0, 0x44}, Arch.SyscallInsn(regset.PPC64LE))
}

func TestResult(t *testing.T) {
	all := ^uint64(0)
	for _, tt := range []struct {
		name     string
		abi      regset.ABI
		trap     uint64
		r3, cr   uint64
		expected int64
	}{
		{"success", regset.PPC64, 0xc00, 5, 0, 5},
		{"error", regset.PPC64, 0xc00, 2, crSO, -2},
		{"large result", regset.PPC64, 0xc00, all, 0, -1},
		{"success LE", regset.PPC64LE, 0xc00, 5, 0x20000000, 5},
		{"error LE", regset.PPC64LE, 0xc00, 14, crSO, -14},
		{"scv success", regset.PPC64LE, 0x3000, 5, crSO, 5},
		{"scv error", regset.PPC64LE, 0x3000, all - 1, 0, -2},
		{"32-bit success", regset.PPC, 0xc00, 5, 0, 5},
		{"32-bit address", regset.PPC, 0xc00, 0xf7000000, 0, 0xf7000000},
		{"32-bit error", regset.PPC, 0xc00, 2, crSO, -2},
		{"32-bit scv error", regset.PPC, 0x3000, all - 1, 0, -2},
		{"32-bit scv address", regset.PPC, 0x3000, 0xf7000000, 0, 0xf7000000},
	} {
		t.Run(tt.name, func(t *testing.T) {
			require.Equal(t, tt.expected, Arch.Result(tt.abi, inCall(tt.abi, tt.trap, tt.r3, tt.cr)))
		})
	}
}

func TestSetResult(t *testing.T) {
	for _, abi := range abis {
		mask := ^uint64(0) >> uint(64-8*abi.WordSize())
		for _, tt := range []struct {
			name   string
			trap   uint64
			result int64
			r3, cr uint64
		}{
			{"success", 0xc00, 42, 42, 0x4},
			{"error", 0xc00, -22, 22, 0x4 | crSO},
			{"highest errno", 0xc00, -4095, 4095, 0x4 | crSO},
			{"negative, no errno", 0xc00, -4096, ^uint64(4095), 0x4},
			{"scv success", 0x3000, 42, 42, 0x4 | crSO},
			{"scv error", 0x3000, -22, ^uint64(21), 0x4 | crSO},
		} {
			t.Run(abi.String()+"/"+tt.name, func(t *testing.T) {
				data := inCall(abi, tt.trap, 512, 0x4|crSO)
				Arch.SetResult(abi, data, tt.result)
				g := gprs(abi, data)
				require.Equal(t, tt.r3&mask, g.get(3))
				require.Equal(t, tt.cr, g.get(ptCCR))
				require.Zero(t, g.get(ptTrap))
				require.Zero(t, g.get(ptResult))
				require.Equal(t, uint64(0x1004), g.get(ptNIP))
				_, _, in := Arch.Syscall(abi, data)
				require.False(t, in)
				require.False(t, Arch.Rewind(abi, data))
			})
		}
	}
}

func TestRewind(t *testing.T) {
	minus := func(n uint64) uint64 { return -n }
	for _, abi := range abis {
		for _, tt := range []struct {
			name         string
			trap, r3, cr uint64
			rewound      bool
		}{
			{"ERESTARTSYS", 0xc00, 512, crSO, true},
			{"ERESTARTNOINTR", 0xc00, 513, crSO, true},
			{"ERESTARTNOHAND", 0xc00, 514, crSO, true},
			{"ERESTART_RESTARTBLOCK", 0xc00, 516, crSO, true},
			{"no restart code", 0xc00, 515, crSO, false},
			{"EINTR", 0xc00, 4, crSO, false},
			{"result 512", 0xc00, 512, 0, false},
			{"negative after sc", 0xc00, minus(512), crSO, false},
			{"after sigreturn", 0xc01, 512, crSO, false},
			{"page fault", 0x300, 512, crSO, false},
			{"scv", 0x3000, minus(512), 0, true},
			{"scv block", 0x3000, minus(516), crSO, true},
			{"scv result 512", 0x3000, 512, crSO, false},
			{"scv EINTR", 0x3000, minus(4), 0, false},
		} {
			t.Run(abi.String()+"/"+tt.name, func(t *testing.T) {
				data := inCall(abi, tt.trap, tt.r3, tt.cr)
				before := append([]byte(nil), data...)
				require.Equal(t, tt.rewound, Arch.Rewind(abi, data))
				if !tt.rewound {
					require.Equal(t, before, data)
					return
				}
				g := gprs(abi, data)
				require.Equal(t, uint64(0x1000), g.get(ptNIP))
				require.Equal(t, uint64(1), g.get(3))
				require.Equal(t, uint64(3), g.get(0), "the call itself, not restart_syscall")
				require.Equal(t, tt.cr, g.get(ptCCR))
				require.Zero(t, g.get(ptTrap))
				require.Zero(t, g.get(ptResult))
				require.False(t, Arch.Rewind(abi, data), "once")
			})
		}
	}
}

func TestRetry(t *testing.T) {
	for _, abi := range abis {
		for trap, r3 := range map[uint64]uint64{0xc00: 4, 0x3000: ^uint64(3)} {
			data := inCall(abi, trap, r3, crSO)
			require.False(t, Arch.Rewind(abi, append([]byte(nil), data...)))
			Arch.Retry(abi, data)
			require.EqualValues(t, -514, Arch.Result(abi, data))
			require.True(t, Arch.Rewind(abi, data))
			require.Equal(t, uint64(1), gprs(abi, data).get(3))
		}
		data := inCall(abi, 0x300, 4, crSO)
		before := append([]byte(nil), data...)
		Arch.Retry(abi, data)
		require.Equal(t, before, data, "in no call")
	}
}

// Registers from an image may have any length.
func TestShortPRSTATUS(t *testing.T) {
	for _, abi := range abis {
		for n := 0; n < nGPR*abi.WordSize(); n += 3 {
			data := make([]byte, n)
			Arch.SetSyscall(abi, data, 1, 2, [6]uint64{})
			Arch.SetResult(abi, data, -1)
			Arch.Rewind(abi, data)
			_, _, in := Arch.Syscall(abi, data)
			require.False(t, in)
			if n < (ptNIP+1)*abi.WordSize() {
				require.Zero(t, Arch.PC(abi, data))
			}
		}
	}
}
