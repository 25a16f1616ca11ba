package x86

import "cr/regset"

// NT_386_IOPERM is the bitmap of I/O ports; a clear bit gives the port to the
// task (ioperm(2)). Ports belong to a machine, so they do not move.

const reasonPorts = "permission to use I/O ports cannot be restored"

func iopermRegs(_ regset.ABI, data []byte) []regset.Reg {
	if len(data) == 0 {
		return nil
	}
	return []regset.Reg{reg("ioperm", data)}
}

func iopermUsed(_ regset.ABI, data []byte) bool {
	for _, b := range data {
		if b != 0xff {
			return true
		}
	}
	return false
}

func iopermCheck(_ *regset.Machine, abi regset.ABI, data []byte, out *regset.Problems) {
	if iopermUsed(abi, data) {
		*out = append(*out, &regset.Problem{
			Set: nameIOPERM, Feature: featureName(IOPERM),
			Reason: reasonPorts,
		})
	}
}

func iopermUnsaved(abi regset.ABI, data []byte) string {
	if iopermUsed(abi, data) {
		return reasonPorts
	}
	return ""
}

func iopermFit(_ *regset.Machine, _ regset.ABI, data []byte) []byte { return clone(data) }
