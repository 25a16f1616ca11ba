package convert

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"cr/cpu"
	"cr/regset"
)

// ErrMachine is the error for what is no description of a machine.
var ErrMachine = errors.New("not a description of a machine (cr features --json makes one)")

// description is a machine as `cr features --json` prints it.
type description struct {
	regset.Machine

	// Names are those of the bits of Has, for people. A reader has no use for
	// them but to see that nobody has edited one and not the other.
	Names []string `json:"feature_names"`
}

// WriteMachine writes the description of a machine as JSON.
func WriteMachine(w io.Writer, m *regset.Machine) error {
	arch, err := ArchOf(m)
	if err != nil {
		return err
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(description{*m, append([]string{}, regset.Names(arch, m.Has)...)})
}

// maxMachine is the size of the longest description, in bytes.
const maxMachine = 1 << 20

// ReadMachine reads what WriteMachine has written. Its errors are those of r,
// and ones that wrap ErrMachine.
func ReadMachine(r io.Reader) (*regset.Machine, error) {
	b, err := io.ReadAll(io.LimitReader(r, maxMachine+1))
	if err != nil {
		return nil, err
	}
	bad := func(format string, args ...any) (*regset.Machine, error) {
		return nil, fmt.Errorf("%w: %s", ErrMachine, fmt.Sprintf(format, args...))
	}
	if len(b) > maxMachine {
		return bad("more than %d bytes", maxMachine)
	}
	var d description
	in := json.NewDecoder(bytes.NewReader(b))
	in.DisallowUnknownFields()
	if err := in.Decode(&d); err != nil {
		return bad("%v", err)
	}
	if in.More() {
		return bad("there is something behind it")
	}
	m := &d.Machine
	arch, err := ArchOf(m)
	if err != nil {
		return nil, err
	}
	if m.PageSize < 4<<10 || m.PageSize > 256<<10 || m.PageSize&(m.PageSize-1) != 0 {
		return bad("page size %d", m.PageSize)
	}
	if len(m.ABIs) == 0 {
		return bad("it runs no tasks of any ABI")
	}
	for _, name := range m.ABIs {
		if _, ok := abiNamed(name); !ok {
			return bad("%q is no ABI", name)
		}
	}
	if d.Names != nil {
		named, err := parseNames(arch, d.Names)
		if err != nil {
			return bad("feature_names: %v", err)
		}
		if named != m.Has {
			return bad("features and feature_names differ: %v", regset.Names(arch, named^m.Has))
		}
	}
	return m, nil
}

// abis are all that there are.
var abis = []regset.ABI{regset.I386, regset.X86_64, regset.PPC, regset.PPC64, regset.PPC64LE}

func abiNamed(name string) (regset.ABI, bool) {
	for _, a := range abis {
		if a.String() == name {
			return a, true
		}
	}
	return regset.ABI{}, false
}

// ArchOf returns the architecture of a machine. It fails with ErrMachine.
func ArchOf(m *regset.Machine) (regset.Arch, error) {
	abi, ok := abiNamed(m.Arch)
	if !ok {
		return nil, fmt.Errorf("%w: %q is no architecture", ErrMachine, m.Arch)
	}
	return cpu.For(abi), nil
}

// parseNames is the inverse of regset.Names.
func parseNames(arch regset.Arch, names []string) (regset.Mask, error) {
	var m regset.Mask
	for _, name := range names {
		bit, err := parseName(arch, name)
		if err != nil {
			return 0, err
		}
		m |= bit
	}
	return m, nil
}

// parseName finds a feature by its name, or by its bits in hexadecimal if they
// have none.
func parseName(arch regset.Arch, name string) (regset.Mask, error) {
	for _, f := range arch.Features() {
		if f.Name == name {
			return f.Bit, nil
		}
	}
	var m regset.Mask
	if n, err := fmt.Sscanf(name, "0x%x", &m); err == nil && n == 1 {
		return m, nil
	}
	return 0, fmt.Errorf("no feature is called %q", name)
}
