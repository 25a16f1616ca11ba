package kernel

import (
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"cr/cpu"
	"cr/regset"
)

// The code of an undo list begins with the instruction by which tasks make calls,
// has one more of them where clone3 and threads make theirs, and is shorter than the
// memory that it is written to.
func TestUndoListCode(t *testing.T) {
	for _, abi := range []regset.ABI{regset.X86_64, regset.I386, regset.PPC, regset.PPC64, regset.PPC64LE} {
		u := &undoList{layout: layoutOf(abi), abi: abi, cells: 0x20000}
		a := &assembler{layout: u.layout}
		c := u.code(a, 0x10000, 0x7000)
		insn := cpu.For(abi).SyscallInsn(abi)
		for _, at := range []uint64{0, c.birth, c.last} {
			require.Equal(t, insn, a.b[at:int(at)+len(insn)], "%s at %#x", abi, at)
		}
		require.Less(t, c.work, c.birth, abi)
		require.Less(t, len(a.b), 512, abi)
	}
}

func TestUndoes(t *testing.T) {
	abi := regset.X86_64
	u := &undoList{layout: layoutOf(abi), abi: abi, own: []int{0, 1, 2, 7}}
	call := func(nr sysno, args ...uint64) listed {
		l := listed{number: nr.number(abi)}
		copy(l.args[:], args)
		return l
	}
	closed := []undoEntry{{listed: call(sysClose)}}
	minus1 := ^uint64(0)
	for _, c := range []struct {
		nr   sysno
		args []uint64
		want []undoEntry
	}{
		{sysOpenat, []uint64{3, 0x1000, 0, 0}, closed},
		{sysSocket, []uint64{1, 2, 0}, closed},
		{sysSignalfd4, []uint64{minus1, 0x1000, 8, 0}, closed},
		{sysSignalfd4, []uint64{5, 0x1000, 8, 0}, nil},
		{sysFcntl, []uint64{5, unix.F_DUPFD_CLOEXEC, 100}, closed},
		{sysFcntl, []uint64{5, unix.F_SETFL, 0}, nil},
		{sysIoctl, []uint64{5, unix.TIOCGPTPEER, 2}, closed},
		{sysIoctl, []uint64{5, unix.TIOCGWINSZ, 0x1000}, nil},
		{sysDup3, []uint64{5, 9, 0}, []undoEntry{{listed: call(sysClose, 9), slot: -1}}},
		{sysDup3, []uint64{5, 7, 0}, nil}, // the caller's own: whoever displaces it says how it comes back
		{sysPipe2, []uint64{0x1000, 0}, []undoEntry{
			{listed: call(sysClose, 0x1000), slot: -1, indirect: true}, {listed: call(sysClose, 0x1004), slot: -1, indirect: true}}},
		{sysSocketpair, []uint64{1, 1, 0, 0x2000}, []undoEntry{
			{listed: call(sysClose, 0x2000), slot: -1, indirect: true}, {listed: call(sysClose, 0x2004), slot: -1, indirect: true}}},
		{sysMmap, []uint64{0x5000, 0x3000, 3, 0x22, minus1, 0}, []undoEntry{{listed: call(sysMunmap, 0, 0x3000)}}},
		{sysMremap, []uint64{0x5000, 0, 0x2000, 3, 0x9000}, []undoEntry{{listed: call(sysMunmap, 0x9000, 0x2000), slot: -1}}},
		{sysShmat, []uint64{4, 0x5000, 0}, []undoEntry{{listed: call(sysShmdt)}}},
		{sysShmget, []uint64{0, 4096, 0o600 | ipcCreate | ipcExclusive}, []undoEntry{{listed: call(sysShmctl, 0, ipcRmid)}}},
		{sysMsgget, []uint64{1, 0o600}, nil},
		{sysSemget, []uint64{1, 2, ipcCreate | ipcExclusive}, []undoEntry{{listed: call(sysSemctl, 0, 0, ipcRmid)}}},
		{sysPkeyAlloc, []uint64{0, 1}, []undoEntry{{listed: call(sysPkeyFree)}}},
		{sysLseek, []uint64{5, 0, 0}, nil},
	} {
		require.Equal(t, c.want, u.undoes(c.nr, c.args), "%s %v", c.nr, c.args)
	}
}
