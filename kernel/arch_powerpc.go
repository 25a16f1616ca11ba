//go:build ppc64 || ppc64le || ppc

package kernel

import (
	"fmt"

	"cr/regset"
)

// abiOf tells the ABI of a task from the size of its NT_PRSTATUS.
func abiOf(size int) (regset.ABI, error) {
	switch size {
	case 48 * 8:
		if hostBigEndian {
			return regset.PPC64, nil
		}
		return regset.PPC64LE, nil
	case 48 * 4:
		return regset.PPC, nil
	}
	return regset.ABI{}, fmt.Errorf("NT_PRSTATUS of %d bytes", size)
}
