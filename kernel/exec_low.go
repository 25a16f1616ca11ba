package kernel

import (
	"fmt"

	"golang.org/x/sys/unix"

	"cr/convert"
	"cr/image"
	"cr/regset"
)

// LieLow gives this thread the personality with which what 32-bit programs map
// lies below 3 GiB, as long as there is room, and what the programs do that they
// start. A 32-bit kernel needs none.
func LieLow() error {
	layout, err := lowLayout()
	if err != nil || layout == 0 {
		return err
	}
	before, err := personality(askPersonality)
	if err != nil {
		return err
	}
	_, err = personality(before | layout)
	return err
}

// LowByHand reports whether that is not all there is to it: then the filter is to
// be one for ExecCalls, and Intercept.Low set.
func LowByHand() bool { return hostABI == regset.PPC || hostABI == regset.PPC64 }

// stackDrop is how far the stack of a 32-bit program of a 64-bit powerpc kernel
// moves down: from just below 4 GiB (STACK_TOP_USER32) to just below 0xb0000000,
// where user memory ends on 32-bit kernels that load modules into what is above
// (arch/powerpc/Kconfig, TASK_SIZE). What chance has added to its place is kept.
const stackDrop = 1<<32 - 0xb0000000

// highError says why a program lies above 3 GiB.
type highError struct{ error }

// Unwrap returns the reason alone.
func (e *highError) Unwrap() error { return e.error }

// lowerStack moves the stack of a new program down. Nothing but its own start,
// the stack pointer and the kernel's notes point to it yet.
func (t *task) lowerStack(p *process, n *newStack, mm *image.MM) error {
	areas, err := readAreas(t.pid, false)
	if err != nil {
		return err
	}
	stack, err := stackToMove(areas, n.sp)
	if err != nil || stack == (span{}) {
		return err
	}
	b := make([]byte, n.vectorAt+uint64(len(n.auxv))-n.sp)
	if err := p.mem.read(n.sp, b); err != nil {
		return err
	}
	vectorAt := int(n.vectorAt - n.sp)
	convert.MovePointers(t.abi, b, vectorAt, stack.start, stack.end, stackDrop)
	size := stack.end - stack.start
	if _, err := t.call(sysMremap, stack.start, size, size, unix.MREMAP_MAYMOVE|unix.MREMAP_FIXED, stack.start-stackDrop); err != nil {
		return &highError{err}
	}
	n.sp -= stackDrop
	n.vectorAt -= stackDrop
	n.auxv = b[vectorAt:]
	for _, at := range []*uint64{&mm.StartStack, &mm.ArgStart, &mm.ArgEnd, &mm.EnvStart, &mm.EnvEnd} {
		*at -= stackDrop
	}
	t.arch.SetSP(t.abi, t.live, n.sp)
	return p.mem.write(n.sp, b)
}

// stackToMove finds the stack of a new program that is to be moved; none if it
// lies below 3 GiB already. All else must do so, and there must be room.
func stackToMove(areas []area, sp uint64) (span, error) {
	var stack span
	for _, a := range areas {
		switch {
		case sp >= a.start && sp < a.end:
			stack = span{a.start, a.end}
		case a.end > lowEnd:
			return span{}, &highError{fmt.Errorf("%s is mapped at %#x (its personality has been changed)", a.what(), a.start)}
		}
	}
	if stack.end <= lowEnd {
		return span{}, nil
	}
	to := span{stack.start - stackDrop - guard, stack.end - stackDrop}
	for _, a := range areas {
		if to.overlaps(span{a.start, a.end}) {
			return span{}, &highError{fmt.Errorf("%s is mapped at %#x, where its stack should go: %w", a.what(), a.start, unix.ENOMEM)}
		}
	}
	return stack, nil
}

// what names a mapping.
func (a *area) what() string {
	if a.name == "" {
		return "memory"
	}
	return a.name
}
