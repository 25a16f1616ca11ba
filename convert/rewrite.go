package convert

import (
	"errors"
	"io"

	"cr/cpu"
	"cr/image"
	"cr/regset"
	"cr/x86"
)

// Fit returns the states of an image's tasks by tid as a machine takes them. It
// fails with Reasons where Check does.
func Fit(m *regset.Machine, img *image.Image) (map[uint32]*regset.State, error) {
	if r := Check(m, img); len(r) > 0 {
		return nil, r
	}
	states := make(map[uint32]*regset.State, len(img.CPUs))
	for _, c := range img.CPUs {
		s, err := cpu.For(c.State.ABI).Fit(m, &c.State)
		if err != nil {
			return nil, Reasons{{TIDs: []uint32{c.TID}, Err: err}}
		}
		states[c.TID] = s
	}
	return states, nil
}

// Rewrite writes an image to w so as the machine would have made it, where that
// is sound: the registers as the machine takes them, and the kernel's
// identification in the header. rd gives the memory, which is passed through.
//
// What the program knows is left as it is: the auxiliary vector, on its stack
// and in the kernel, has been read and acted upon, so changing it would only
// make the program disagree with itself. The vdso is left too: restart makes
// calls of it lead to the kernel's own.
//
// It fails with Reasons, before anything is written, where the machine cannot
// take the image.
func Rewrite(m *regset.Machine, img *image.Image, rd *image.Reader, w io.Writer) error {
	states, err := Fit(m, img)
	if err != nil {
		return err
	}
	out := *img
	identify(&out.Header, m)
	out.CPUs = make([]*image.CPU, len(img.CPUs))
	for i, c := range img.CPUs {
		s := states[c.TID]
		if s.Find(regset.X86_XSTATE) != nil {
			// The set itself does not say where its components lie.
			s.Put(regset.NoteX86XLayout, x86.Layout(m.XComponents))
		}
		out.CPUs[i] = &image.CPU{TID: c.TID, State: *s}
		out.Header.Features |= s.Used
	}
	if err := out.Validate(); err != nil {
		return err
	}
	wr, err := image.NewWriter(w, &out)
	if err != nil {
		return err
	}
	for {
		p, err := rd.Next()
		if errors.Is(err, io.EOF) {
			return wr.Close()
		}
		if err != nil {
			return err
		}
		if err := wr.Pages(p.Owner, p.Shm, p.Runs, p.Data); err != nil {
			return err
		}
	}
}

// identify makes a header say that the machine has made the image.
func identify(h *image.Header, m *regset.Machine) {
	if abi, ok := abiNamed(m.Arch); ok {
		h.ABI = abi
	}
	h.Machine, h.Release = m.Arch, m.Release
	h.HWCAP, h.HWCAP2 = m.HWCAP, m.HWCAP2
	h.Features = 0
}
