package kernel

import (
	"bytes"
	"debug/elf"
	"fmt"

	"golang.org/x/sys/unix"

	"cr/regset"
)

// vdsoFunction is a function of a vdso: where it is, from the vdso's start, and
// how long, in bytes.
type vdsoFunction struct{ at, size uint64 }

// foreignVDSO makes of the vdso of the kernel that the image is from one that
// works with this kernel: the functions that would read data of the old kernel
// jump to those of the same name in this kernel's vdso, or make the system call
// that they save where this kernel's vdso has none. All else stays as it is: a
// task may be about to return to an instruction in it.
func (r *reborn) foreignVDSO(at uint64) ([]byte, error) {
	code := append([]byte(nil), r.mm.VDSO...)
	theirs, err := vdsoFunctions(code)
	if err != nil {
		return nil, fmt.Errorf("vdso of the image: %w", err)
	}
	start, ours, err := r.ownVDSO()
	if err != nil {
		return nil, err
	}
	abi := r.leader().abi
	for name, f := range theirs {
		var patch []byte
		target, here := ours[name]
		switch {
		case name == "__kernel_vsyscall":
			patch = []byte{0xcd, 0x80, 0xc3} // int $0x80; ret: what every CPU has
		case !readsKernelData(name):
			continue
		case here:
			patch, err = jumpTo(abi, at+f.at, start+target.at)
		default:
			patch, err = callInstead(abi, name)
		}
		if err == nil && uint64(len(patch)) > f.size {
			err = fmt.Errorf("%d bytes are too few to change it: %w", f.size, unix.EOPNOTSUPP)
		}
		if err != nil {
			return nil, fmt.Errorf("vdso function %s: %w", name, err)
		}
		copy(code[f.at:], patch)
	}
	return code, nil
}

// ownVDSO finds the kernel's own vdso in a process that is being made: where it
// will be, and what it has.
func (r *reborn) ownVDSO() (start uint64, functions map[string]vdsoFunction, err error) {
	for _, a := range r.old {
		if a.name != "[vdso]" {
			continue
		}
		now, err := r.mem.readVDSO(&a)
		if err != nil {
			return 0, nil, err
		}
		if functions, err = vdsoFunctions(now.content); err != nil {
			return 0, nil, fmt.Errorf("vdso of this kernel: %w", err)
		}
		start = a.start
	}
	for _, p := range r.vdso.parts {
		if p.at == start {
			start = p.to
		}
	}
	return start, functions, nil
}

// dataFunctions are the functions of vdsos that read data which the kernel keeps
// for them, and the system calls that they save; sysCount where there is none.
// The others are plain code, system calls and signal returns.
var dataFunctions = map[string]sysno{
	"__vdso_clock_gettime": sysClockGettime, "clock_gettime": sysClockGettime, "__kernel_clock_gettime": sysClockGettime,
	"__vdso_clock_gettime64": sysClockGettime64, "__kernel_clock_gettime64": sysClockGettime64,
	"__vdso_gettimeofday": sysGettimeofday, "gettimeofday": sysGettimeofday, "__kernel_gettimeofday": sysGettimeofday,
	"__vdso_clock_getres": sysClockGetres, "clock_getres": sysClockGetres, "__kernel_clock_getres": sysClockGetres,
	"__vdso_time": sysTime, "time": sysTime, "__kernel_time": sysTime,
	"__vdso_getrandom": sysGetrandom, "getrandom": sysGetrandom, "__kernel_getrandom": sysGetrandom,
	"__kernel_sync_dicache": sysCount, "__kernel_sync_dicache_p5": sysCount,
	"__kernel_get_tbfreq": sysCount, "__kernel_get_syscall_map": sysCount,
}

// readsKernelData reports whether a function of a vdso reads data of the kernel.
func readsKernelData(name string) bool {
	_, ok := dataFunctions[name]
	return ok
}

// vdsoFunctions lists the functions of a vdso by name.
func vdsoFunctions(code []byte) (map[string]vdsoFunction, error) {
	f, err := elf.NewFile(bytes.NewReader(code))
	if err != nil {
		return nil, err
	}
	symbols, err := f.DynamicSymbols()
	if err != nil {
		return nil, err
	}
	list := make(map[string]vdsoFunction)
	for _, s := range symbols {
		if elf.ST_TYPE(s.Info) == elf.STT_FUNC && s.Section != elf.SHN_UNDEF && s.Value < uint64(len(code)) &&
			s.Size <= uint64(len(code))-s.Value {
			list[s.Name] = vdsoFunction{s.Value, s.Size}
		}
	}
	return list, nil
}

// instructions lays out powerpc instructions.
func instructions(abi regset.ABI, list ...uint32) []byte {
	b := make([]byte, 4*len(list))
	for i, w := range list {
		abi.Order().PutUint32(b[4*i:], w)
	}
	return b
}

// jumpTo is code that jumps from one address to another and changes no register
// that carries an argument of a function.
func jumpTo(abi regset.ABI, from, to uint64) ([]byte, error) {
	switch abi.Machine {
	case regset.EMX86_64: // movabs $to, %rax; jmp *%rax
		b := []byte{0x48, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xe0}
		abi.Order().PutUint64(b[2:], to)
		return b, nil
	case regset.EM386: // jmp to
		b := []byte{0xe9, 0, 0, 0, 0}
		abi.Order().PutUint32(b[1:], uint32(to-from-5))
		return b, nil
	case regset.EMPPC: // lis r12; ori r12; mtctr r12; bctr
		return instructions(abi, 0x3d800000|uint32(to>>16&0xffff), 0x618c0000|uint32(to&0xffff), 0x7d8903a6, 0x4e800420), nil
	case regset.EMPPC64: // lis, ori, sldi 32, oris, ori r12; mtctr r12; bctr
		return instructions(abi, 0x3d800000|uint32(to>>48&0xffff), 0x618c0000|uint32(to>>32&0xffff), 0x798c07c6,
			0x658c0000|uint32(to>>16&0xffff), 0x618c0000|uint32(to&0xffff), 0x7d8903a6, 0x4e800420), nil
	}
	return nil, fmt.Errorf("no jump for %s: %w", abi, unix.EOPNOTSUPP)
}

// callInstead is code that makes the system call which a function saves.
// getrandom has a mode of its own, which asks for the size of its state by a last
// argument of -1: it fails with ENOSYS then, and the C library does without.
func callInstead(abi regset.ABI, name string) ([]byte, error) {
	call := dataFunctions[name]
	if call == sysCount || call.number(abi) < 0 {
		return nil, fmt.Errorf("this kernel's vdso has none: %w", unix.EOPNOTSUPP)
	}
	nr := uint32(call.number(abi))
	switch abi.Machine {
	case regset.EMX86_64:
		b := []byte{
			0x49, 0x83, 0xf8, 0xff, // cmp $-1, %r8
			0x74, 0x08, // je 1f
			0xb8, 0, 0, 0, 0, // mov $nr, %eax
			0x0f, 0x05, // syscall
			0xc3,                                     // ret
			0x48, 0xc7, 0xc0, 0xda, 0xff, 0xff, 0xff, // 1: mov $-ENOSYS, %rax
			0xc3, // ret
		}
		abi.Order().PutUint32(b[7:], nr)
		if call != sysGetrandom {
			b = b[6:14] // %r8 is no argument, and may hold anything
		}
		return b, nil
	case regset.EM386:
		b := []byte{
			0x53,             // push %ebx
			0xb8, 0, 0, 0, 0, // mov $nr, %eax
			0x8b, 0x5c, 0x24, 0x08, // mov 8(%esp), %ebx
			0x8b, 0x4c, 0x24, 0x0c, // mov 12(%esp), %ecx
			0xcd, 0x80, // int $0x80
			0x5b, // pop %ebx
			0xc3, // ret
		}
		abi.Order().PutUint32(b[2:], nr)
		return b, nil
	}
	load := 0x38000000 | nr // li r0, nr
	const sc, blr = 0x44000002, 0x4e800020
	if call != sysGetrandom {
		return instructions(abi, load, sc, blr), nil
	}
	const (
		cmpwi = 0x2c07ffff // cmpwi r7, -1
		beq   = 0x41820010 // beq 1f
		li    = 0x38600026 // 1: li r3, ENOSYS
		crset = 0x4c631a42 // creqv 3, 3, 3: CR0.SO
	)
	return instructions(abi, cmpwi, beq, load, sc, blr, li, crset, blr), nil
}
