package selftest

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"cr/cpu"
	"cr/image"
	"cr/regset"
)

// flip is one bit of one register that is changed in an image.
type flip struct {
	class    string
	reg      string // as the class has it
	inImage  string // as regset.Desc.Regs has it
	bit      uint   // of that, from the least significant
	at       uint   // the same bit in the class's register
	wordSize int    // of the ABIs that have it; 0 if all do
}

// flips has a register of each class.
func flips(abi regset.ABI) []flip {
	if abi.IsPPC() {
		return []flip{
			{"gpr", "r20", "r20", 0, 0, 0},
			{"fpr", "f12", "f12", 0, 0, 0},
			{"vmx", "v7", "v7", 0, 0, 0},
			{"vsx", "vs5", "vs5l", 0, vs5l(abi), 0},
			{"dfp", "fpscr", "fpscr", 33, 33, 0},
			{"tar", "tar", "tar", 2, 2, 0},
			{"dscr", "dscr", "dscr", 0, 0, 0},
			{"ppr", "ppr", "ppr", 50, 18, 0}, // medium low
			{"spe", "evr9", "ev9h", 0, 32, 4},
		}
	}
	return []flip{
		{"gpr", "rbx", "rbx", 0, 0, 8},
		{"gpr", "ebx", "ebx", 0, 0, 4},
		{"x87", "st0", "st0", 0, 0, 0},
		{"sse", "xmm5", "xmm5", 0, 0, 0},
		{"avx", "ymm5", "ymm5h", 0, 128, 0},
		{"avx512", "zmm5", "zmm5h", 0, 256, 0},
		{"pkru", "pkru", "pkru", 4, 4, 0},
		{"base", "fs_base", "fs_base", 4, 4, 8},
	}
}

// vs5l is where the lowest bit of the second doubleword of a VSX register is in
// the dump, which has the first doubleword first in either byte order.
func vs5l(abi regset.ABI) uint {
	if abi.BigEndian {
		return 0
	}
	return 64
}

// corruptCase tests the tests: an image with one bit of a register changed is
// restarted, and the comparison must fail for that register and for no other.
func corruptCase(abi regset.ABI) Case {
	c := Case{Name: "corrupt"}
	for _, f := range flips(abi) {
		f := f
		if f.wordSize == 0 || f.wordSize == abi.WordSize() {
			c.Tests = append(c.Tests, Test{f.class, func(t *T) { testFlip(t, abi, f) }})
		}
	}
	return c
}

func testFlip(t *T, abi regset.ABI, f flip) {
	r := t.registers(class(abi, f.class), abi)
	// The one that the test of these registers has left, if it was made.
	good, err := os.ReadFile(filepath.Join(moveDir(t.run.Keep, abi, f.class, "external"), "image"))
	if errors.Is(err, fs.ErrNotExist) {
		good, err = os.ReadFile(r.checkpointSpinning())
	}
	t.must(err)
	bad := t.file("corrupt")
	t.must(os.WriteFile(bad, t.rewritten(good, func(m *image.Image) { t.flip(m, f) }), 0o600))

	notes := t.failureOf(func(inner *T) {
		changed := *r
		changed.t = inner
		changed.restartSpinning(bad)
	})
	reg, value := r.changed(f)
	want := "restarted, pattern P: " + difference(abi, reg, reg.P, value)
	if len(notes) != 1 || notes[0] != want {
		t.Errorf("bit %d of %s was flipped in the image; the test should say:\n%s\nit says:\n%s",
			f.bit, f.inImage, want, strings.Join(notes, "\n"))
	}
	for _, n := range notes {
		t.Logf("seen: %s", n)
	}
}

// changed is the register that a flip changes, and its value then.
func (r *registers) changed(f flip) (reg *Reg, got []byte) {
	for i := range r.regs {
		if r.regs[i].Name != f.reg {
			continue
		}
		reg = &r.regs[i]
		got = append([]byte(nil), reg.P...)
		at := int(f.at / 8)
		if r.prog.abi.BigEndian {
			at = len(got) - 1 - at
		}
		got[at] ^= 1 << (f.at % 8)
		return reg, got
	}
	panic("selftest: class " + f.class + " has no register " + f.reg)
}

// failureOf runs a test within this one, and returns what it says of failures.
func (t *T) failureOf(f func(*T)) []string {
	inner := &T{run: t.run, name: t.name, dir: t.dir, limit: t.limit}
	t.mu.Lock()
	t.inner = inner
	t.mu.Unlock()
	done := make(chan struct{})
	go func() {
		defer close(done)
		f(inner)
	}()
	<-done
	inner.kill()
	inner.mu.Lock()
	defer inner.mu.Unlock()
	if inner.outcome != failed {
		return nil
	}
	return inner.notes
}

// flip changes one bit in each register set that has the register.
func (t *T) flip(m *image.Image, f flip) {
	found := false
	for _, c := range m.CPUs {
		abi := c.State.ABI
		for _, d := range cpu.For(abi).Table(abi) {
			data := c.State.Find(d.Note)
			first, last := extent(&d, abi, data, f.inImage)
			if last < 0 {
				continue
			}
			at := first + int(f.bit/8)
			if abi.BigEndian {
				at = last - int(f.bit/8)
			}
			data[at] ^= 1 << (f.bit % 8)
			found = true
		}
	}
	if !found {
		t.Fatalf("the image has no register %s", f.inImage)
	}
}

// extent finds the bytes that a register has in a set, by trying: those that
// change it and nothing else. Last is -1 if the set has no such register.
func extent(d *regset.Desc, abi regset.ABI, data []byte, name string) (first, last int) {
	before := d.Regs(abi, data)
	first, last = 0, -1
	tried := append([]byte(nil), data...)
	for i := range tried {
		tried[i] ^= 1
		if onlyDiffers(before, d.Regs(abi, tried), name) {
			if last < 0 {
				first = i
			}
			last = i
		}
		tried[i] ^= 1
	}
	return first, last
}

// onlyDiffers reports whether the lists are the same but for one register.
func onlyDiffers(a, b []regset.Reg, name string) bool {
	if len(a) != len(b) {
		return false
	}
	differs := false
	for i := range a {
		same := a[i].Name == b[i].Name && bytes.Equal(a[i].Value, b[i].Value)
		if !same && a[i].Name != name {
			return false
		}
		differs = differs || !same
	}
	return differs
}
