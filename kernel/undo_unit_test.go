package kernel

import (
	"testing"

	"github.com/stretchr/testify/require"

	"cr/regset"
)

// What is behind the ELF image of a vdso in kernels with pages of 4 KiB: the
// least that was seen for each ABI (6.12, the guests').
func TestUndoCodeFits(t *testing.T) {
	all := ppcFrame{vmx: make([]byte, 34*16), vsx: make([]byte, 32*8)}
	altivec := ppcFrame{vmx: all.vmx}
	for _, c := range []struct {
		abi  regset.ABI
		way  *ppcWay
		room int
	}{
		{regset.X86_64, nil, 512},
		{regset.I386, nil, 512},
		{regset.PPC, &ppcWay{jump: throughCTR}, 448},
		{regset.PPC, &ppcWay{jump: throughTAR}, 448},
		{regset.PPC, &ppcWay{frame: altivec.context32()}, 1344},
		{regset.PPC, &ppcWay{frame: all.context32()}, 4096}, // over symbols and section headers
		{regset.PPC64, &ppcWay{jump: throughTAR}, 960},
		{regset.PPC64, &ppcWay{frame: all.context64()}, 4096},
		{regset.PPC64LE, &ppcWay{jump: throughCTR}, 960},
	} {
		u := newUndoCode(c.abi, c.way, marker{sig: 1}, 0x100000, make([]byte, 512), 0, span{})
		require.LessOrEqual(t, len(u.text), c.room, "%s", c.abi)
		require.Equal(t, undoMagic, string(u.text[:len(undoMagic)]))
	}
	require.Nil(t, newUndoCode(regset.PPC64, nil, marker{}, 0, make([]byte, 512), 0, span{}))
}

func words(a *ppcAssembler) (list []uint32) {
	for at := 0; at < len(a.b); at += 4 {
		list = append(list, a.order.Uint32(a.b[at:]))
	}
	return list
}

// The instructions are those that GNU as 2.40 makes of the same text.
func TestPPCInstructions(t *testing.T) {
	for _, c := range []struct {
		add  func(a *ppcAssembler)
		want []uint32
	}{
		{func(a *ppcAssembler) { a.li(5, 8) }, []uint32{0x38a00008}},
		{func(a *ppcAssembler) { a.load(11, 12, 24) }, []uint32{0xe96c0018}},
		{func(a *ppcAssembler) { a.store(3, 31, 56) }, []uint32{0xf87f0038}},
		{func(a *ppcAssembler) { a.callCode() }, []uint32{0x7d1f4378, 0xe81f0000, 0x2c200000, 0x41820038, 0x3000ffff,
			0xe87f0008, 0xe89f0010, 0xe8bf0018, 0xe8df0020, 0xe8ff0028, 0xe91f0030, 0x44000002,
			0x40830008, 0x7c6300d0, 0xf87f0038, 0x3bff0040, 0x4bffffc4}},
		{func(a *ppcAssembler) { a.toSPR(uint32(throughCTR), 12) }, []uint32{0x7d8903a6}},
		{func(a *ppcAssembler) { a.toSPR(uint32(throughTAR), 11) }, []uint32{0x7d6fcba6}},
		{func(a *ppcAssembler) { a.syscall(91) }, []uint32{0x3800005b, 0x44000002}},
		{func(a *ppcAssembler) { a.address(12, 0x123456789abcdef0) },
			[]uint32{0x3d801234, 0x618c5678, 0x798c07c6, 0x658c9abc, 0x618cdef0}},
		{func(a *ppcAssembler) { from := a.jump(); a.insn(0); a.land(from) }, []uint32{0x48000008, 0}},
	} {
		a := &ppcAssembler{assembler{layout: layoutOf(regset.PPC64)}}
		c.add(a)
		require.Equal(t, c.want, words(a))
	}
	a := &ppcAssembler{assembler{layout: layoutOf(regset.PPC)}}
	a.address(1, 0xfffe1234)
	require.Equal(t, []uint32{0x38200000, 0x6421fffe, 0x60211234}, words(a))
}

// A signal frame has the vector registers where the kernel reads them.
func TestPPCContext(t *testing.T) {
	order := layoutOf(regset.PPC).order
	gprs, vmx, spe := make([]byte, 192), make([]byte, 34*16), make([]byte, 35*4)
	order.PutUint32(gprs[mcMSR:], 0x280d032) // VMX and VSX: these are not what counts
	order.PutUint32(vmx[32*16+12:], 1<<16)   // VSCR
	order.PutUint32(vmx[33*16:], 0xfff)      // VRSAVE
	order.PutUint32(spe[34*4:], 0xc0)        // SPEFSCR
	copy(vmx, "v0")
	b := (&ppcFrame{gprs: gprs, vmx: vmx}).context32()
	require.Len(t, b, 992)
	require.Equal(t, "v0", string(b[mcVectors:mcVectors+2]))
	require.Equal(t, uint32(0xfff), order.Uint32(b[mcVRSAVE:]))
	require.Equal(t, uint32(1<<16), order.Uint32(b[mcVRSAVE+12:]))
	require.Equal(t, uint32(0x200d032), order.Uint32(b[mcMSR:]))
	b = (&ppcFrame{gprs: gprs, spe: spe}).context32()
	require.Equal(t, uint32(0xc0), order.Uint32(b[mcVectors+34*4:]))
	require.Equal(t, uint32(0xd032), order.Uint32((&ppcFrame{gprs: gprs}).context32()[mcMSR:]))
	b = (&ppcFrame{gprs: gprs, vmx: vmx, vsx: append([]byte("s0"), make([]byte, 254)...)}).context32()
	require.Len(t, b, 992+256)
	require.Equal(t, "s0", string(b[992:994]))
	require.Equal(t, uint32(0x280d032), order.Uint32(b[mcMSR:]))
}

// The same of a 64-bit task, at the offsets of struct ucontext and struct
// sigcontext that GCC 12 has for powerpc64.
func TestPPCFrame64(t *testing.T) {
	order := layoutOf(regset.PPC64).order
	gprs, fprs := make([]byte, 48*8), make([]byte, 33*8)
	order.PutUint64(gprs[31*8:], 31)
	order.PutUint64(gprs[33*8:], 0x800000000280d032)
	order.PutUint64(fprs[32*8:], 0xf8) // FPSCR
	vmx, vsx := append([]byte("v0"), make([]byte, 34*16-2)...), append([]byte("s0"), make([]byte, 254)...)
	const at = 0x7fff12340000
	frame := func(f *ppcFrame) []byte {
		a := &ppcAssembler{assembler{layout: layoutOf(regset.PPC64)}}
		a.data(0, 0)
		stack := a.signalFrame(at, f.context64(), 0x1234)
		require.Zero(t, stack%16)
		return a.b[stack-at:]
	}
	all := frame(&ppcFrame{gprs: gprs, fprs: fprs, vmx: vmx, vsx: vsx})
	require.Len(t, all, 896+34*16+256)
	require.Equal(t, uint32(7), order.Uint32(all[24:]))
	require.Equal(t, uint64(0x1234), order.Uint64(all[40:]))
	require.Equal(t, uint64(31), order.Uint64(all[232+31*8:]))
	require.Equal(t, uint64(0x800000000280d032), order.Uint64(all[232+33*8:]))
	require.Equal(t, uint64(0xf8), order.Uint64(all[616+32*8:]))
	require.Equal(t, uint64(at+32+896), order.Uint64(all[880:]))
	require.Equal(t, "v0", string(all[896:898]))
	require.Equal(t, "s0", string(all[896+34*16:][:2]))
	none := frame(&ppcFrame{gprs: gprs, fprs: fprs})
	require.Len(t, none, 888)
	require.Equal(t, uint64(0), order.Uint64(none[880:]))
	require.Equal(t, uint64(0x800000000000d032), order.Uint64(none[232+33*8:]))
}
