package selftest

import (
	"bytes"
	"debug/elf"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"cr/regset"
)

// targets holds the target programs, as targets/bin/ABI/CLASS, and their
// sources: so it compiles before the programs are built, too.
//
//go:generate make -s -C targets
//go:embed targets
var targets embed.FS

// errNotBuilt is returned where a target program is not in the executable.
var errNotBuilt = errors.New("built without target programs: run make targets")

// program is a target program, as a file that can be executed.
type program struct {
	abi     regset.ABI
	class   string
	path    string
	symbols map[string]uint64
	text    *elf.Section
}

// unpack writes a target program below dir, unless it is there already. It makes
// the checkpoint call by the number of the kernel that is tested.
func unpack(dir string, abi regset.ABI, class string) (*program, error) {
	data, err := targets.ReadFile("targets/bin/" + abi.String() + "/" + class)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s for %s: %w", class, abi, errNotBuilt)
	}
	if err != nil {
		return nil, err
	}
	p := &program{abi: abi, class: class, path: filepath.Join(dir, abi.String(), class)}
	if err := p.load(data); err != nil {
		return nil, fmt.Errorf("%s: %w", p.path, err)
	}
	if numbers.Checkpoint != 0 {
		data = p.renumbered(data)
		if err := p.load(data); err != nil {
			return nil, fmt.Errorf("%s: %w", p.path, err)
		}
	}
	if _, err := os.Stat(p.path); err != nil {
		if err := os.MkdirAll(filepath.Dir(p.path), 0o755); err != nil {
			return nil, err
		}
		if err := os.WriteFile(p.path, data, 0o755); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// load reads the symbols and finds the text.
func (p *program) load(data []byte) error {
	f, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		return err
	}
	symbols, err := f.Symbols()
	if err != nil {
		return err
	}
	p.symbols = make(map[string]uint64)
	for _, s := range symbols {
		p.symbols[s.Name] = s.Value
	}
	if p.text = f.Section(".text"); p.text == nil {
		return errors.New("no .text")
	}
	return nil
}

// symbol is the address of a symbol; a program without it is a mistake of this
// package's.
func (p *program) symbol(name string) uint64 {
	addr, ok := p.symbols[name]
	if !ok {
		panic(fmt.Sprintf("selftest: %s has no symbol %s", p.path, name))
	}
	return addr
}

// spinCode is the address of the instruction that branches to itself, and the
// bytes from there on, enough of them to know the program by.
func (p *program) spinCode() (addr uint64, code []byte) {
	addr = p.symbol("spin")
	code = make([]byte, 32)
	n, _ := p.text.ReadAt(code, int64(addr-p.text.Addr))
	return addr, code[:n]
}

// releaseCode is the byte that makes the branch to itself at spin one that is
// not, and its address: one byte, so that no task ever sees half of a change.
func (p *program) releaseCode() (addr uint64, code byte) {
	addr = p.symbol("spin")
	switch {
	case !p.abi.IsPPC():
		return addr + 1, 0 // jmp to the next instruction
	case p.abi.BigEndian:
		return addr, 0x60 // nop
	}
	return addr + 3, 0x60
}

// renumbered is the program with another number of the checkpoint call in the
// one instruction that has it; programs without that have no such symbol.
func (p *program) renumbered(data []byte) []byte {
	addr, ok := p.symbols["checkpoint_number"]
	if !ok {
		return data
	}
	data = append([]byte(nil), data...)
	at := data[p.text.Offset+addr-p.text.Addr:]
	switch {
	case !p.abi.IsPPC():
		p.abi.Order().PutUint32(at[1:], uint32(numbers.Checkpoint)) // mov $NUMBER, %eax
	case p.abi.BigEndian:
		p.abi.Order().PutUint16(at[2:], uint16(numbers.Checkpoint)) // li 0, NUMBER
	default:
		p.abi.Order().PutUint16(at, uint16(numbers.Checkpoint))
	}
	return data
}
