package ppc

import "cr/regset"

const (
	sizeVMX   = 34 * 16
	offVRSAVE = 33 * 16

	vscrNJ   = 1 << 16 // non-Java mode, on from exec on
	vscrSAT  = 1 << 0
	vscrBits = vscrNJ | vscrSAT
)

// offVSCR is where VSCR is in its quadword: in the least significant word of a
// vector register.
func offVSCR(abi regset.ABI) int {
	if abi.BigEndian {
		return 32*16 + 12
	}
	return 32 * 16
}

// initialVSCR is what exec leaves. start_thread writes VSCR's NJ into the last
// word of the quadword in both byte orders, so that little endian tasks start
// with it off.
func initialVSCR(abi regset.ABI) uint32 {
	if abi.BigEndian {
		return vscrNJ
	}
	return 0
}

// vmxSet is NT_PPC_VMX: v0 to v31, a quadword with VSCR and one with VRSAVE in
// its first word, 544 bytes (arch/powerpc/kernel/ptrace/ptrace-altivec.c).
// Kernels list it even on CPUs without the unit.
var vmxSet = set{
	note: regset.PPC_VMX, name: "NT_PPC_VMX", feature: FeatureVMX, access: regset.Regset,
	size: fixed(sizeVMX),
	fields: func(abi regset.ABI) []field {
		return append(array(numbered("v%d", 32), 0, 16),
			field{"vscr", offVSCR(abi), 4}, field{"vrsave", offVRSAVE, 4})
	},
	// VRSAVE tells nothing: exec leaves in it what the program before had, and
	// the C library sets it whenever there is a vector unit.
	used: func(abi regset.ABI, data []byte) bool {
		return nonzero(data[:32*16]) || abi.Order().Uint32(data[offVSCR(abi):])&vscrBits != initialVSCR(abi)
	},
	fit: func(_ *regset.Machine, abi regset.ABI, data []byte) []byte {
		o := abi.Order()
		vscr, vrsave := o.Uint32(data[offVSCR(abi):])&vscrBits, o.Uint32(data[offVRSAVE:])
		return putVMX(abi, data[:32*16], vscr, vrsave)
	},
	initial: func(abi regset.ABI) []byte {
		return putVMX(abi, make([]byte, 32*16), initialVSCR(abi), 0)
	},
}

// putVMX lays out the set, the unused words zero.
func putVMX(abi regset.ABI, vrs []byte, vscr, vrsave uint32) []byte {
	data := make([]byte, sizeVMX)
	copy(data, vrs)
	abi.Order().PutUint32(data[offVSCR(abi):], vscr)
	abi.Order().PutUint32(data[offVRSAVE:], vrsave)
	return data
}
