package kernel

import (
	"encoding/binary"
	"fmt"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"cr/regset"
	"cr/sys"
)

// seccompData lays out struct seccomp_data as a kernel of the ABI's byte order
// does, and then each word for the BPF machine of x/net, which loads big endian.
func seccompData(abi regset.ABI, nr, arch uint32, args ...uint64) []byte {
	b := make([]byte, 64)
	order := abi.Order()
	order.PutUint32(b[dataNR:], nr)
	order.PutUint32(b[dataArch:], arch)
	order.PutUint64(b[8:], 0x1122334455667788)
	for i, a := range args {
		order.PutUint64(b[dataArgs+8*i:], a)
	}
	for i := 0; i < len(b); i += 4 {
		binary.BigEndian.PutUint32(b[i:], order.Uint32(b[i:]))
	}
	return b
}

func TestFilter(t *testing.T) {
	const (
		ptr32   = 0x0804c000
		ptr64   = 0x7ffd12345678
		lowPtr  = 0x10000
		garbage = 0xdeadbeefcafe
	)
	minus := func(n int64) uint64 { return uint64(-n) }
	minus32 := func(n int32) uint64 { return uint64(uint32(-n)) }
	type row struct {
		what string
		abi  regset.ABI
		nr   uint32
		args []uint64
		ours bool
	}
	var rows []row
	for _, abi := range []regset.ABI{regset.PPC, regset.PPC64, regset.PPC64LE} {
		rows = append(rows,
			row{"checkpoint of itself", abi, 319, []uint64{0, 3, 0}, true},
			row{"checkpoint of the highest pid", abi, 319, []uint64{0x3fffff, 3, 0}, true},
			row{"checkpoint of pid -1, 32 bits", abi, 319, []uint64{minus32(1), 3, 0}, true},
			row{"checkpoint of pid -4095, 32 bits", abi, 319, []uint64{minus32(4095), 3, 0}, true},
			row{"checkpoint whatever the descriptor", abi, 319, []uint64{1, garbage, garbage}, true},
			row{"perf_event_open just above the pids", abi, 319, []uint64{0x400000, 0, minus(1)}, false},
			row{"perf_event_open", abi, 319, []uint64{ptr32, 0, minus(1), minus(1), 0}, false},
			row{"perf_event_open below the errors", abi, 319, []uint64{minus32(4096), 0}, false},
			row{"restart", abi, 320, []uint64{0, 3, 0}, true},
			row{"restart of any identifier", abi, 320, []uint64{ptr32, 0, 0}, true},
			row{"restart from descriptor -1, 32 bits", abi, 320, []uint64{1, minus32(1), 0}, true},
			row{"restart from the highest descriptor", abi, 320, []uint64{1, lowPtr - 1, 0}, true},
			row{"preadv", abi, 320, []uint64{3, ptr32, 1, 0, 0}, false},
			row{"preadv, lowest pointer", abi, 320, []uint64{3, lowPtr, 1, 0, 0}, false},
			row{"number of x86_64", abi, 313, []uint64{0, 0, 0}, false},
			row{"the number before", abi, 318, []uint64{0, 0, 0}, false},
			row{"the number behind", abi, 321, []uint64{0, 0, 0}, false},
		)
	}
	for _, abi := range []regset.ABI{regset.PPC64, regset.PPC64LE} {
		rows = append(rows,
			row{"checkpoint of pid -1, 64 bits", abi, 319, []uint64{minus(1), 3, 0}, true},
			row{"checkpoint of pid -4095, 64 bits", abi, 319, []uint64{minus(4095), 3, 0}, true},
			row{"perf_event_open of a kernel address", abi, 319, []uint64{minus(4096), 0}, false},
			row{"perf_event_open, a pointer with a small lower half", abi, 319, []uint64{0x7f0000000010, 0}, false},
			row{"perf_event_open, a pointer with a large lower half", abi, 319, []uint64{0x7fffffffffff, 0}, false},
			row{"preadv on a stack", abi, 320, []uint64{3, ptr64, 1, 0}, false},
			row{"preadv, a pointer with a zero lower half", abi, 320, []uint64{3, 0x100000000, 1, 0}, false},
			row{"restart from descriptor -1, 64 bits", abi, 320, []uint64{1, minus(1), 0}, true},
		)
	}
	for _, x := range []struct {
		abi                 regset.ABI
		checkpoint, restart uint32
	}{{regset.X86_64, 313, 314}, {regset.I386, 333, 334}} {
		for _, nr := range []uint32{x.checkpoint, x.restart} {
			rows = append(rows,
				row{"descriptor 0", x.abi, nr, []uint64{0, 0, 0}, true},
				row{"descriptor 3, any first argument", x.abi, nr, []uint64{ptr32, 3, 0}, true},
				row{"highest descriptor", x.abi, nr, []uint64{0, lowPtr - 1, 0}, true},
				row{"descriptor -1, 32 bits", x.abi, nr, []uint64{0, minus32(1), 0}, true},
				row{"descriptor -9, 32 bits", x.abi, nr, []uint64{0, minus32(9), 0}, true},
				row{"lowest pointer", x.abi, nr, []uint64{3, lowPtr, 0}, false},
				row{"pointer", x.abi, nr, []uint64{3, ptr32, 1}, false},
				row{"below the errors", x.abi, nr, []uint64{3, minus32(4096), 1}, false},
			)
		}
		rows = append(rows,
			row{"the number before", x.abi, x.checkpoint - 1, []uint64{0, 0, 0}, false},
			row{"the number behind", x.abi, x.restart + 1, []uint64{0, 0, 0}, false},
			row{"getpid", x.abi, 39, nil, false},
		)
	}
	rows = append(rows,
		row{"descriptor -1, 64 bits", regset.X86_64, 313, []uint64{0, minus(1), 0}, true},
		row{"finit_module", regset.X86_64, 313, []uint64{3, ptr64, 0}, false},
		row{"sched_setattr", regset.X86_64, 314, []uint64{0, 0x7ffc00000000, 0}, false},
		row{"checkpoint of i386 by a 64-bit number", regset.X86_64, 333, []uint64{0, 3, 0}, false},
		row{"checkpoint of x86_64 by a 32-bit number", regset.I386, 313, []uint64{0, 3, 0}, false},
		row{"x32 call", regset.X86_64, 0x40000000 | 313, []uint64{0, 3, 0}, false},
	)

	for _, family := range [][]Calls{x86Calls, ppcCalls} {
		prog, err := Filter(family)
		require.NoError(t, err)
		vm, err := bpf.NewVM(prog)
		require.NoError(t, err)
		known := map[regset.ABI]bool{}
		for _, c := range family {
			known[c.ABI] = true
		}
		for _, r := range rows {
			arch, err := auditArch(r.abi)
			require.NoError(t, err)
			want := unix.SECCOMP_RET_ALLOW
			if r.ours && known[r.abi] {
				want = unix.SECCOMP_RET_USER_NOTIF
			}
			got, err := vm.Run(seccompData(r.abi, r.nr, arch, r.args...))
			require.NoError(t, err)
			require.Equal(t, fmt.Sprintf("%#x", want), fmt.Sprintf("%#x", got),
				"%v: %s: call %d%#x, filter for %v", r.abi, r.what, r.nr, r.args, family[0].ABI)
		}
	}
}

func TestSetNumbers(t *testing.T) {
	old := hostCalls
	defer func() { hostCalls = old }()
	usual := HostCalls()[0]
	arch, err := auditArch(usual.ABI)
	require.NoError(t, err)
	SetNumbers(501, 502)
	prog, err := Filter(HostCalls())
	require.NoError(t, err)
	vm, err := bpf.NewVM(prog)
	require.NoError(t, err)
	for nr, want := range map[uint32]int{
		usual.Checkpoint.Number: unix.SECCOMP_RET_ALLOW, usual.Restart.Number: unix.SECCOMP_RET_ALLOW,
		501: unix.SECCOMP_RET_USER_NOTIF, 502: unix.SECCOMP_RET_USER_NOTIF,
	} {
		got, err := vm.Run(seccompData(usual.ABI, nr, arch, 0, 3, 0))
		require.NoError(t, err)
		require.Equal(t, want, got, "call %d", nr)
	}
	require.Equal(t, usual, old[0], "the table itself is untouched")
}

func TestFilterRefuses(t *testing.T) {
	_, err := Filter([]Calls{{ABI: regset.ABI{Machine: 40}}})
	require.EqualError(t, err, "no calls are known for machine 40, big endian false")
	_, err = Filter([]Calls{{ABI: regset.PPC, Checkpoint: Call{Number: 319, Arg: 6}}})
	require.EqualError(t, err, "system call 319 has no argument 6")
}

// The numbers that Go programs use are those that the filter looks for.
func TestNumbers(t *testing.T) {
	abi := map[string]regset.ABI{"386": regset.I386, "amd64": regset.X86_64, "ppc": regset.PPC,
		"ppc64": regset.PPC64, "ppc64le": regset.PPC64LE}[runtime.GOARCH]
	for _, c := range HostCalls() {
		if c.ABI == abi {
			require.Equal(t, sys.Pair{Checkpoint: uintptr(c.Checkpoint.Number), Restart: uintptr(c.Restart.Number)}, sys.Numbers)
			return
		}
	}
	t.Fatalf("no calls for %s", runtime.GOARCH)
}
