package selftest

import "cr/regset"

// fileContents is what is in the file that targets/common/files.S opens.
const fileContents = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ\n"

// filesRegs lists what targets/common/files.S stores.
func filesRegs(abi regset.ABI, _ func(string) uint64) []Reg {
	const (
		appending   = 0x400
		nonblocking = 0x800
		flags       = 3 | appending | nonblocking // without O_LARGEFILE, which depends on the ABI
	)
	eagain := int64(-11)
	w := abi.WordSize()
	l := &layout{abi: abi}
	for _, r := range []struct {
		name string
		p, q uint64
	}{
		{"offset of 11", 5, 40},
		{"close-on-exec of 10", 1, 0},
		{"close-on-exec of 11", 0, 1},
		{"close-on-exec of 12", 0, 0},
		{"flags of 10", 0, 0},
		{"flags of 12", 2 | appending, 2 | appending},
		{"read from 10", 8, 8},
		{"offset of 11 after reading from 10", 13, 48},
		{"offset of 12", 33, 1},
		{"close-on-exec of 20", 0, 0},
		{"close-on-exec of 21", 1, 1},
		{"flags of 20", nonblocking, nonblocking},
		{"read from pipe", 24, 30},
		{"read from empty pipe", uint64(eagain), uint64(eagain)},
		{"umask", 0x17, 0x68},
		{"getcwd", 13, 13},
	} {
		reg := l.fixed(r.name, w, r.p, r.q)
		if r.name[:5] == "flags" {
			reg.Mask = number(abi.Order(), w, flags)
		}
	}
	l.text("bytes from 10", 8, fileContents[5:13], fileContents[40:48])
	l.text("bytes from pipe", 32, "what the pipe holds in P", "something else is in it in Q..")
	l.text("working directory", 16, "/proc/sys/vm", "/proc/sys/fs")
	return l.regs
}

// text appends characters, followed by zeros.
func (l *layout) text(name string, size int, p, q string) {
	r := Reg{Name: name, P: make([]byte, size), Q: make([]byte, size), Unit: 1}
	copy(r.P, p)
	copy(r.Q, q)
	l.regs = append(l.regs, r)
}
