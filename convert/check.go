package convert

import (
	"errors"
	"fmt"
	"strings"

	"cr/cpu"
	"cr/image"
	"cr/regset"
)

// ErrForeign is the error for an image of a machine of another kind: what its
// tasks use does not matter.
var ErrForeign = errors.New("the machine has no such tasks")

// A Reason is one reason why a machine cannot take an image.
type Reason struct {
	TIDs []uint32 // the tasks that it is about; none if it is the image as a whole
	Err  error    // a *regset.Problem, or one that wraps ErrForeign
}

// namedTIDs is how many tasks a reason lists.
const namedTIDs = 4

// Error is one line: the tasks and the reason.
func (r *Reason) Error() string {
	if len(r.TIDs) == 0 {
		return r.Err.Error()
	}
	var b strings.Builder
	for i, tid := range r.TIDs {
		if i == namedTIDs && len(r.TIDs) > namedTIDs+1 {
			fmt.Fprintf(&b, " and %d more", len(r.TIDs)-i)
			break
		}
		if i > 0 {
			b.WriteString(",")
		}
		fmt.Fprintf(&b, " %d", tid)
	}
	return "pid" + b.String() + ": " + r.Err.Error()
}

// Unwrap returns the reason alone.
func (r *Reason) Unwrap() error { return r.Err }

// Reasons are all the reasons that a check has found. The first counts for
// errors.Is and errors.As.
type Reasons []*Reason

// Error gives one reason a line.
func (l Reasons) Error() string {
	lines := make([]string, len(l))
	for i, r := range l {
		lines[i] = r.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap returns the first reason.
func (l Reasons) Unwrap() error { return l[0] }

// add notes a reason, for a task if tid is not 0. Tasks with the same reason
// share one.
func (l *Reasons) add(tid uint32, err error) {
	for _, r := range *l {
		if tid != 0 && len(r.TIDs) != 0 && r.Err.Error() == err.Error() {
			r.TIDs = append(r.TIDs, tid)
			return
		}
	}
	r := &Reason{Err: err}
	if tid != 0 {
		r.TIDs = []uint32{tid}
	}
	*l = append(*l, r)
}

// Check tells whether a machine can take an image: nil, or every reason why
// not. The image is one that image.Read has accepted. What only the kernel can
// say of a particular user and file system (files, limits, privileges) is not
// looked at.
func Check(m *regset.Machine, img *image.Image) Reasons {
	var out Reasons
	if int(img.Header.PageSize) != m.PageSize {
		out.add(0, fmt.Errorf("pages are of %d bytes, those of the machine of %d: %w", img.Header.PageSize, m.PageSize, ErrForeign))
	}
	checkNamespaces(m, img, &out)
	for _, c := range img.CPUs {
		if !m.Runs(c.State.ABI) {
			out.add(c.TID, fmt.Errorf("a task of ABI %s; the machine's kernel runs %s: %w", c.State.ABI, strings.Join(m.ABIs, ", "), ErrForeign))
			continue
		}
		for _, p := range cpu.For(c.State.ABI).Check(m, &c.State) {
			out.add(c.TID, p)
		}
	}
	for _, p := range img.Processes {
		if p.State != image.Zombie {
			checkMemory(m, img, p, &out)
		}
	}
	return out
}

// checkNamespaces finds namespaces of the image that the machine cannot make.
func checkNamespaces(m *regset.Machine, img *image.Image, out *Reasons) {
	if m.Namespaces == nil {
		return
	}
	has := make(map[string]bool)
	for _, kind := range m.Namespaces {
		has[kind] = true
	}
	own := img.OwnNamespaces()
	for _, k := range image.NamespaceKinds {
		if own.Has(k.Flag) && !has[k.File] {
			out.add(0, fmt.Errorf("the processes have a namespace of kind %s for themselves, and the machine can make none: %w", k.Name, ErrForeign))
		}
	}
}

// checkMemory finds mappings at addresses that the machine's kernel gives to
// no task, as it may keep more of them for itself than that of the image.
func checkMemory(m *regset.Machine, img *image.Image, p *image.Process, out *Reasons) {
	abi := img.CPUOf(p.PID).State.ABI
	if !m.Runs(abi) {
		return
	}
	limit := m.TaskSize(abi)
	for _, v := range img.MM(p.MM).VMAs {
		if v.Kind == image.Vsyscall || v.End <= limit {
			continue
		}
		name := v.Name
		if name == "" {
			name = "memory"
		}
		out.add(p.PID, fmt.Errorf("%s is at %#x-%#x, and the memory of %s tasks ends at %#x on the machine: %w",
			name, v.Start, v.End, abi, limit, ErrForeign))
		return
	}
}
