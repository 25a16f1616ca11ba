package x86

import (
	"fmt"

	"cr/regset"
)

// tlsEntries is GDT_ENTRY_TLS_ENTRIES: NT_386_TLS is as many struct user_desc.
const tlsEntries = 3

func tlsReg(i int) string { return fmt.Sprintf("tls%d", i) }

func tlsRegs(_ regset.ABI, data []byte) []regset.Reg {
	var regs []regset.Reg
	for i := range userDescs(data) {
		regs = append(regs, reg(tlsReg(i), data[i*userDescSize:(i+1)*userDescSize]))
	}
	return regs
}

func tlsUsed(_ regset.ABI, data []byte) bool { return anyDesc(data) }

// tlsGDT is the GDT of the kernel that gave the set.
func tlsGDT(data []byte) (gdt, bool) {
	for _, t := range []gdt{gdtI386, gdtX86_64} {
		if len(data) >= userDescSize && le.Uint32(data) == uint32(t.tls) {
			return t, true
		}
	}
	return gdt{}, false
}

// tlsCheck has the rules of tls_desc_okay (arch/x86/kernel/tls.c).
func tlsCheck(_ *regset.Machine, _ regset.ABI, data []byte, out *regset.Problems) {
	if !checkSize(nameTLS, data, tlsEntries*userDescSize, out) {
		return
	}
	t, ok := tlsGDT(data)
	if !ok {
		problem(out, nameTLS, tlsReg(0), "%d is no entry number of a kernel's first TLS descriptor", le.Uint32(data))
		return
	}
	for i, d := range userDescs(data) {
		r := tlsReg(i)
		if want := uint32(t.tls) + uint32(i); d.entry != want {
			problem(out, nameTLS, r, "entry number is %d, not %d", d.entry, want)
		}
		if d.empty() {
			continue
		}
		checkLimit(nameTLS, r, d, out)
		if d.flags&descSeg32 == 0 {
			problem(out, nameTLS, r, "16-bit segment")
		}
		if d.contents() > descExpandDown {
			problem(out, nameTLS, r, "code segment")
		}
		if d.flags&descNotPresent != 0 {
			problem(out, nameTLS, r, "segment is not present")
		}
	}
}

func tlsFit(m *regset.Machine, _ regset.ABI, data []byte) []byte {
	fit := dropLM(data)
	for i := 0; i < tlsEntries; i++ {
		le.PutUint32(fit[i*userDescSize:], uint32(gdtOf(m).tls)+uint32(i))
	}
	return fit
}
