package kernel

import (
	"bytes"
	"debug/elf"
	"fmt"

	"golang.org/x/sys/unix"

	"cr/regset"
)

// foreignVDSO makes of the vdso of the kernel that the image is from one that
// works with this kernel: the functions that would read data of the old kernel
// jump to those of the same name in this kernel's vdso. All else stays as it
// is: a task may be about to return to an instruction in it.
func (r *reborn) foreignVDSO(at uint64) ([]byte, error) {
	code := append([]byte(nil), r.mm.VDSO...)
	theirs, err := vdsoSymbols(code)
	if err != nil {
		return nil, fmt.Errorf("vdso of the image: %w", err)
	}
	var start uint64
	var ours map[string]uint64
	for _, a := range r.old {
		if a.name != "[vdso]" {
			continue
		}
		now := make([]byte, a.end-a.start)
		if err := r.mem.read(a.start, now); err != nil {
			return nil, err
		}
		if ours, err = vdsoSymbols(now); err != nil {
			return nil, fmt.Errorf("vdso of this kernel: %w", err)
		}
		start = a.start
	}
	for _, p := range r.vdso.parts {
		if p.at == start {
			start = p.to
		}
	}
	for name, off := range theirs {
		if !readsKernelData(name) {
			continue
		}
		target, ok := ours[name]
		if !ok {
			return nil, fmt.Errorf("this kernel's vdso has no %s, which the program may call: %w", name, unix.EOPNOTSUPP)
		}
		jump, err := jumpTo(r.leader().abi, at+off, start+target)
		if err != nil {
			return nil, fmt.Errorf("vdso function %s: %w", name, err)
		}
		copy(code[off:], jump)
	}
	return code, nil
}

// readsKernelData reports whether a function of a vdso reads data that the
// kernel keeps for it: the clocks and the random numbers do. The others are
// plain code, system calls and signal returns.
func readsKernelData(name string) bool {
	switch name {
	case "__vdso_clock_gettime", "clock_gettime", "__vdso_clock_gettime64", "__kernel_clock_gettime", "__kernel_clock_gettime64",
		"__vdso_gettimeofday", "gettimeofday", "__kernel_gettimeofday",
		"__vdso_clock_getres", "clock_getres", "__kernel_clock_getres",
		"__vdso_time", "time", "__kernel_time",
		"__vdso_getrandom", "getrandom", "__kernel_getrandom",
		"__kernel_get_tbfreq", "__kernel_get_syscall_map":
		return true
	}
	return false
}

// vdsoSymbols lists the functions of a vdso by name, as offsets from its start.
func vdsoSymbols(code []byte) (map[string]uint64, error) {
	f, err := elf.NewFile(bytes.NewReader(code))
	if err != nil {
		return nil, err
	}
	symbols, err := f.DynamicSymbols()
	if err != nil {
		return nil, err
	}
	list := make(map[string]uint64)
	for _, s := range symbols {
		if elf.ST_TYPE(s.Info) == elf.STT_FUNC && s.Section != elf.SHN_UNDEF && s.Value < uint64(len(code)) {
			list[s.Name] = s.Value
		}
	}
	return list, nil
}

// jumpTo is code that jumps from one address to another and changes no register
// that carries an argument of a function.
func jumpTo(abi regset.ABI, from, to uint64) ([]byte, error) {
	order := abi.Order()
	words := func(list ...uint32) []byte {
		b := make([]byte, 4*len(list))
		for i, w := range list {
			order.PutUint32(b[4*i:], w)
		}
		return b
	}
	switch abi.Machine {
	case regset.EMX86_64: // movabs $to, %rax; jmp *%rax
		b := []byte{0x48, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xe0}
		order.PutUint64(b[2:], to)
		return b, nil
	case regset.EM386: // jmp to
		b := []byte{0xe9, 0, 0, 0, 0}
		order.PutUint32(b[1:], uint32(to-from-5))
		return b, nil
	case regset.EMPPC: // lis r12; ori r12; mtctr r12; bctr
		return words(0x3d800000|uint32(to>>16&0xffff), 0x618c0000|uint32(to&0xffff), 0x7d8903a6, 0x4e800420), nil
	case regset.EMPPC64: // lis, ori, sldi 32, oris, ori r12; mtctr r12; bctr
		return words(0x3d800000|uint32(to>>48&0xffff), 0x618c0000|uint32(to>>32&0xffff), 0x798c07c6,
			0x658c0000|uint32(to>>16&0xffff), 0x618c0000|uint32(to&0xffff), 0x7d8903a6, 0x4e800420), nil
	}
	return nil, fmt.Errorf("no jump for %s: %w", abi, unix.EOPNOTSUPP)
}
