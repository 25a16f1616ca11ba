package selftest

import "cr/regset"

// Loaded lists the registers of a class as its program holds them while it
// spins: in an image that Config.Save has left below dir, the external one.
func Loaded(dir string, abi regset.ABI, name string) ([]Held, error) {
	p, err := unpack(dir, abi, name)
	if err != nil {
		return nil, err
	}
	var list []Held
	for _, r := range class(abi, name).Regs(abi, p.symbol) {
		r := r
		h := Held{Name: r.Name, Value: r.value(abi, r.P)}
		if r.Mask != nil {
			h.Mask = r.value(abi, r.Mask)
		}
		list = append(list, h)
	}
	return list, nil
}

// Held is the value of a register, the most significant byte first. A register
// of several numbers has them in the order of the memory. Mask has the bits that
// count; nil if all do.
type Held struct {
	Name        string
	Value, Mask []byte
}
