//go:build amd64 || 386

package kernel

import (
	"fmt"

	"cr/regset"
)

// abiOf tells the ABI of a task from the size of its NT_PRSTATUS.
func abiOf(size int) (regset.ABI, error) {
	switch size {
	case 27 * 8:
		return regset.X86_64, nil
	case 17 * 4:
		return regset.I386, nil
	}
	return regset.ABI{}, fmt.Errorf("NT_PRSTATUS of %d bytes", size)
}
