package x86

import (
	"encoding/binary"
	"fmt"

	"cr/regset"
)

var le = binary.LittleEndian

// gprLayout says where a register lies in a PRSTATUS set, in words.
type gprLayout struct {
	word   int // bytes
	names  []string
	ax     int
	bx     int
	cx     int
	dx     int
	origAX int
	ip     int
	cs     int
	flags  int
	sp     int
	ss     int
	data   []int // ds, es, fs, gs
	args   [6]int
}

func (l *gprLayout) size() int { return l.word * len(l.names) }

func gprLayoutOf(abi regset.ABI) *gprLayout {
	if abi == regset.X86_64 {
		return &gpr64
	}
	return &gpr32
}

// gprs is a PRSTATUS set with its layout.
type gprs struct {
	*gprLayout
	bytes []byte
}

// gprsOf tells the layout by the size, as the kernel gives the 32-bit set for
// a 64-bit program that has switched to compatibility mode
// (task_user_regset_view).
func gprsOf(prstatus []byte) (gprs, bool) {
	for _, l := range []*gprLayout{&gpr64, &gpr32} {
		if len(prstatus) == l.size() {
			return gprs{l, prstatus}, true
		}
	}
	return gprs{}, false
}

func (g gprs) get(i int) uint64 {
	if g.word == 8 {
		return le.Uint64(g.bytes[8*i:])
	}
	return uint64(le.Uint32(g.bytes[4*i:]))
}

// signed is get with the sign of the task's word.
func (g gprs) signed(i int) int64 {
	if g.word == 8 {
		return int64(g.get(i))
	}
	return int64(int32(g.get(i)))
}

func (g gprs) set(i int, v uint64) {
	if g.word == 8 {
		le.PutUint64(g.bytes[8*i:], v)
		return
	}
	le.PutUint32(g.bytes[4*i:], uint32(v))
}

func gprRegs(_ regset.ABI, data []byte) []regset.Reg {
	g, ok := gprsOf(data)
	if !ok {
		return nil
	}
	regs := make([]regset.Reg, len(g.names))
	for i, n := range g.names {
		regs[i] = reg(n, data[i*g.word:(i+1)*g.word])
	}
	return regs
}

// gprUsed: every task uses its general registers.
func gprUsed(regset.ABI, []byte) bool { return true }

func gprCheck(m *regset.Machine, abi regset.ABI, data []byte, out *regset.Problems) {
	l := gprLayoutOf(abi)
	if !checkSize(namePRSTATUS, data, l.size(), out) {
		return
	}
	g := gprs{l, data}
	if ip, limit := g.get(g.ip), userLimit(m, abi); ip >= limit {
		problem(out, namePRSTATUS, g.names[g.ip], "%#x is no address of a user program, which ends at %#x", ip, limit)
	}
	checkFlags(g, out)
	checkSelectors(m, abi, g, out)
	if abi == regset.X86_64 {
		checkBases(m, g, out)
	}
}

func gprFit(m *regset.Machine, abi regset.ABI, data []byte) []byte {
	g := gprs{gprLayoutOf(abi), clone(data)}
	g.set(g.flags, fitFlags(m, g.get(g.flags)))
	fitSelectors(m, abi, g)
	return g.bytes
}

// reg makes a Reg of little-endian bytes.
func reg(name string, b []byte) regset.Reg {
	v := make([]byte, len(b))
	for i := range b {
		v[len(b)-1-i] = b[i]
	}
	return regset.Reg{Name: name, Value: v}
}

func problem(out *regset.Problems, set, reg, format string, args ...interface{}) {
	*out = append(*out, &regset.Problem{Set: set, Reg: reg, Reason: fmt.Sprintf(format, args...)})
}

// checkSize reports whether a set has the one size it may have.
func checkSize(set string, data []byte, want int, out *regset.Problems) bool {
	if len(data) != want {
		problem(out, set, "", "size is %d bytes, not %d", len(data), want)
		return false
	}
	return true
}

func clone(b []byte) []byte { return append([]byte(nil), b...) }

func zero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}
