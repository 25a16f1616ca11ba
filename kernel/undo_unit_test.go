package kernel

import (
	"testing"

	"github.com/stretchr/testify/require"

	"cr/regset"
)

// What is behind the ELF image of a vdso in kernels with pages of 4 KiB: the
// least that was seen for each ABI (6.12, the guests').
func TestUndoCodeFits(t *testing.T) {
	frame := &ppcWay{frame: make([]byte, mcSize)}
	for _, c := range []struct {
		abi  regset.ABI
		way  *ppcWay
		room int
	}{
		{regset.X86_64, nil, 512},
		{regset.I386, nil, 512},
		{regset.PPC, &ppcWay{jump: throughCTR}, 448},
		{regset.PPC, &ppcWay{jump: throughTAR}, 448},
		{regset.PPC, frame, 1344},
		{regset.PPC64, &ppcWay{jump: throughTAR}, 960},
		{regset.PPC64LE, &ppcWay{jump: throughCTR}, 960},
	} {
		u := newUndoCode(c.abi, c.way, 0x100000, make([]byte, 512), 0, 0)
		require.LessOrEqual(t, len(u.text), c.room, "%s", c.abi)
		require.Equal(t, undoMagic, string(u.text[:len(undoMagic)]))
	}
	require.Nil(t, newUndoCode(regset.PPC64, nil, 0, make([]byte, 512), 0, 0))
}

// The instructions are those that GNU as 2.40 makes of the same text.
func TestPPCInstructions(t *testing.T) {
	for _, c := range []struct {
		add  func(a *ppcAssembler)
		want []uint32
	}{
		{func(a *ppcAssembler) { a.li(5, 8) }, []uint32{0x38a00008}},
		{func(a *ppcAssembler) { a.load(11, 12, 24) }, []uint32{0xe96c0018}},
		{func(a *ppcAssembler) { a.toSPR(uint32(throughCTR), 12) }, []uint32{0x7d8903a6}},
		{func(a *ppcAssembler) { a.toSPR(uint32(throughTAR), 11) }, []uint32{0x7d6fcba6}},
		{func(a *ppcAssembler) { a.syscall(91) }, []uint32{0x3800005b, 0x44000002}},
		{func(a *ppcAssembler) { a.address(12, 0x123456789abcdef0) },
			[]uint32{0x3d801234, 0x618c5678, 0x798c07c6, 0x658c9abc, 0x618cdef0}},
		{func(a *ppcAssembler) { from := a.jump(); a.insn(0); a.land(from) }, []uint32{0x48000008, 0}},
	} {
		a := &ppcAssembler{assembler{layout: layoutOf(regset.PPC64)}}
		c.add(a)
		var got []uint32
		for at := 0; at < len(a.b); at += 4 {
			got = append(got, a.order.Uint32(a.b[at:]))
		}
		require.Equal(t, c.want, got)
	}
}

// A signal frame has the vector registers where the kernel reads them.
func TestPPCContext(t *testing.T) {
	order := layoutOf(regset.PPC).order
	gprs, vmx, spe := make([]byte, 192), make([]byte, 34*16), make([]byte, 35*4)
	order.PutUint32(gprs[mcMSR:], 0xd032)
	order.PutUint32(vmx[32*16+12:], 1<<16) // VSCR
	order.PutUint32(vmx[33*16:], 0xfff)    // VRSAVE
	order.PutUint32(spe[34*4:], 0xc0)      // SPEFSCR
	copy(vmx, "v0")
	b := ppcContext(gprs, nil, vmx, nil)
	require.Len(t, b, mcSize)
	require.Equal(t, "v0", string(b[mcVectors:mcVectors+2]))
	require.Equal(t, uint32(0xfff), order.Uint32(b[mcVRSAVE:]))
	require.Equal(t, uint32(1<<16), order.Uint32(b[mcVRSAVE+12:]))
	require.Equal(t, uint32(0x200d032), order.Uint32(b[mcMSR:]))
	require.Equal(t, uint32(0xc0), order.Uint32(ppcContext(gprs, nil, nil, spe)[mcVectors+34*4:]))
	require.Equal(t, uint32(0xd032), order.Uint32(ppcContext(gprs, nil, nil, nil)[mcMSR:]))
}
