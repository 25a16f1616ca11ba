package x86

import (
	"testing"

	"cr/regset"

	"github.com/stretchr/testify/require"
)

func errno(n int64) uint64 { return uint64(-n) }

func TestSyscall(t *testing.T) {
	args := [6]uint64{1, 2, 3, 4, 5, 6}
	for _, c := range []struct {
		name   string
		abi    regset.ABI
		values map[string]uint64
		nr     int
		in     bool
	}{
		{"64-bit", regset.X86_64, map[string]uint64{"orig_rax": 313, "rdi": 1, "rsi": 2, "rdx": 3, "r10": 4, "r8": 5, "r9": 6}, 313, true},
		{"number 0", regset.X86_64, map[string]uint64{"orig_rax": 0, "rdi": 1, "rsi": 2, "rdx": 3, "r10": 4, "r8": 5, "r9": 6}, 0, true},
		{"64-bit, none", regset.X86_64, map[string]uint64{"orig_rax": noCall, "rdi": 1}, 0, false},
		{"64-bit, the number is an int", regset.X86_64, map[string]uint64{"orig_rax": 0xffffffff, "rdi": 1}, 0, false},
		{"32-bit", regset.I386, map[string]uint64{"orig_eax": 333, "ebx": 1, "ecx": 2, "edx": 3, "esi": 4, "edi": 5, "ebp": 6}, 333, true},
		{"32-bit, none", regset.I386, map[string]uint64{"orig_eax": noCall, "ebx": 1}, 0, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			nr, got, in := Arch.Syscall(c.abi, gprSet(c.abi, c.values))
			require.Equal(t, c.in, in)
			require.Equal(t, c.nr, nr)
			if c.in {
				require.Equal(t, args, got)
			}
		})
	}
}

func TestSetSyscall(t *testing.T) {
	args := [6]uint64{0xffffffffffffff9c, 2, 3, 4, 5, 6}
	p := make([]byte, gpr64.size())
	Arch.SetSyscall(regset.X86_64, p, 0x401000, 257, args)
	require.Equal(t, map[string]uint64{
		"rip": 0x401000, "rax": 257, "orig_rax": noCall, "rdi": args[0], "rsi": 2, "rdx": 3, "r10": 4, "r8": 5, "r9": 6,
	}, nonZero(gprValues(regset.X86_64, p)))

	p = make([]byte, gpr32.size())
	Arch.SetSyscall(regset.I386, p, 0x8049000, 295, args)
	require.Equal(t, map[string]uint64{
		"eip": 0x8049000, "eax": 295, "orig_eax": 0xffffffff, "ebx": 0xffffff9c, "ecx": 2, "edx": 3, "esi": 4, "edi": 5, "ebp": 6,
	}, nonZero(gprValues(regset.I386, p)))
}

func nonZero(v map[string]uint64) map[string]uint64 {
	for n := range v {
		if v[n] == 0 {
			delete(v, n)
		}
	}
	return v
}

func TestRetry(t *testing.T) {
	for _, abi := range []regset.ABI{regset.X86_64, regset.I386} {
		l := gprLayoutOf(abi)
		g := gprs{l, make([]byte, l.size())}
		g.set(l.origAX, 65)
		g.set(l.ax, errno(4))
		g.set(l.ip, 0x401002)
		Arch.Retry(abi, g.bytes)
		require.EqualValues(t, -514, Arch.Result(abi, g.bytes))
		require.True(t, Arch.Rewind(abi, g.bytes))
		require.Equal(t, uint64(65), g.get(l.ax))
		require.Equal(t, uint64(0x401000), g.get(l.ip))
		Arch.Retry(abi, g.bytes)
		require.Equal(t, uint64(65), g.get(l.ax), "in no call any more")
	}
}

func TestRewind(t *testing.T) {
	for _, c := range []struct {
		name     string
		orig, ax uint64
		rewound  bool
	}{
		{"ERESTARTSYS", 313, errno(512), true},
		{"ERESTARTNOINTR", 313, errno(513), true},
		{"ERESTARTNOHAND", 313, errno(514), true},
		{"ERESTART_RESTARTBLOCK", 35, errno(516), true},
		{"number 0", 0, errno(512), true},
		{"done", 313, 7, false},
		{"EINTR", 313, errno(4), false},
		{"ENOIOCTLCMD", 16, errno(515), false},
		{"in no call", noCall, errno(512), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, abi := range []regset.ABI{regset.X86_64, regset.I386} {
				l := gprLayoutOf(abi)
				g := gprs{l, make([]byte, l.size())}
				g.set(l.origAX, c.orig)
				g.set(l.ax, c.ax)
				g.set(l.ip, 0x401002)
				ax := g.get(l.ax)
				require.Equal(t, c.rewound, Arch.Rewind(abi, g.bytes))
				_, _, in := Arch.Syscall(abi, g.bytes)
				require.False(t, in)
				require.False(t, Arch.Rewind(abi, g.bytes), "twice")
				if c.rewound {
					require.Equal(t, c.orig, g.get(l.ax))
					require.Equal(t, uint64(0x401000), Arch.PC(abi, g.bytes))
				} else {
					require.Equal(t, ax, g.get(l.ax))
					require.Equal(t, uint64(0x401002), Arch.PC(abi, g.bytes))
				}
			}
		})
	}
}

func TestResult(t *testing.T) {
	for _, abi := range []regset.ABI{regset.X86_64, regset.I386} {
		for _, r := range []int64{0, 7, -1, -512, 1<<31 - 1} {
			l := gprLayoutOf(abi)
			g := gprs{l, make([]byte, l.size())}
			g.set(l.origAX, 313)
			Arch.SetResult(abi, g.bytes, r)
			require.Equal(t, r, Arch.Result(abi, g.bytes))
			_, _, in := Arch.Syscall(abi, g.bytes)
			require.False(t, in)
		}
	}
}

func TestPCAndSP(t *testing.T) {
	p := gprSet(regset.X86_64, values64())
	require.Equal(t, uint64(0x401000), Arch.PC(regset.X86_64, p))
	require.Equal(t, uint64(0x7ffc0000), Arch.SP(regset.X86_64, p))
	Arch.SetPC(regset.X86_64, p, 0x402000)
	require.Equal(t, uint64(0x402000), gprValues(regset.X86_64, p)["rip"])
	Arch.SetSP(regset.X86_64, p, 0x7ffd0000)
	require.Equal(t, uint64(0x7ffd0000), gprValues(regset.X86_64, p)["rsp"])

	p = gprSet(regset.I386, values32(pc))
	require.Equal(t, uint64(0x8049000), Arch.PC(regset.I386, p))
	require.Equal(t, uint64(0xbff00000), Arch.SP(regset.I386, p))
}

// A 64-bit program in compatibility mode has a 32-bit set; a set of another
// size is left alone.
func TestForeignSizes(t *testing.T) {
	p := gprSet(regset.I386, values32(server))
	require.Equal(t, uint64(0x8049000), Arch.PC(regset.X86_64, p))
	for _, p := range [][]byte{nil, {1, 2, 3}, make([]byte, 100)} {
		before := clone(p)
		Arch.SetPC(regset.X86_64, p, 1)
		Arch.SetSP(regset.X86_64, p, 1)
		Arch.SetResult(regset.X86_64, p, 1)
		Arch.SetSyscall(regset.X86_64, p, 1, 1, [6]uint64{1})
		require.False(t, Arch.Rewind(regset.X86_64, p))
		_, _, in := Arch.Syscall(regset.X86_64, p)
		require.False(t, in)
		require.Zero(t, Arch.PC(regset.X86_64, p))
		require.Zero(t, Arch.SP(regset.X86_64, p))
		require.Zero(t, Arch.Result(regset.X86_64, p))
		require.Equal(t, before, clone(p))
	}
}

func TestSyscallInsn(t *testing.T) {
	require.Equal(t, []byte{0x0f, 0x05}, Arch.SyscallInsn(regset.X86_64))
	require.Equal(t, []byte{0xcd, 0x80}, Arch.SyscallInsn(regset.I386))
}
