// Package cpu knows which architecture's package reads the registers of which
// tasks.
package cpu

import (
	"cr/ppc"
	"cr/regset"
	"cr/x86"
)

// For returns the architecture that reads the register sets of tasks of an
// ABI, nil for an ABI that this project does not know.
func For(a regset.ABI) regset.Arch {
	switch {
	case !a.Known():
		return nil
	case a.IsPPC():
		return ppc.Arch
	}
	return x86.Arch
}
