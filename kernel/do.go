package kernel

import "fmt"

// out is memory that a system call writes to: bytes that are handed to the
// call, and then hold what it has left there.
type out []byte

// do makes the leader of a process make a system call. An argument is an
// integer, or bytes whose address in the process the call shall get; they lie in
// the process's scratch memory meanwhile.
func (r *reborn) do(nr sysno, args ...any) (uint64, error) {
	return r.doAt(r.leader(), nr, args...)
}

func (r *reborn) doAt(t *task, nr sysno, args ...any) (uint64, error) {
	var regs [6]uint64
	var results []int
	at := r.scratch
	for i, a := range args {
		var b []byte
		if v, ok := register(a); ok {
			regs[i] = v
			continue
		}
		switch a := a.(type) {
		case []byte:
			b = a
		case out:
			b = a
			results = append(results, i)
		default:
			return 0, fmt.Errorf("%s: an argument of type %T", nr, a)
		}
		if at+uint64(len(b)) > r.scratch+argsSize {
			return 0, fmt.Errorf("%s: %d bytes are too many for its arguments", nr, len(b))
		}
		if err := r.mem.write(at, b); err != nil {
			return 0, err
		}
		regs[i] = at
		at = (at + uint64(len(b)) + 15) &^ 15
	}
	result, err := t.call(nr, regs[:len(args)]...)
	if err != nil {
		return result, err
	}
	for _, i := range results {
		if err := r.mem.read(regs[i], args[i].(out)); err != nil {
			return result, err
		}
	}
	return result, nil
}

// register is an argument that is an integer as a register has it.
func register(a any) (v uint64, ok bool) {
	switch a := a.(type) {
	case int:
		return uint64(int64(a)), true
	case int32:
		return uint64(int64(a)), true
	case int64:
		return uint64(a), true
	case uint32:
		return uint64(a), true
	case uint64:
		return a, true
	}
	return 0, false
}
