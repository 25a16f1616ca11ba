package convert_test

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"cr/convert"
	"cr/cpu"
	"cr/image"
	"cr/image/imagetest"
	"cr/regset"
)

// read reads an image to its end; the memory is that of each record, as printed.
func read(t *testing.T, b []byte) (*image.Image, []image.Pages) {
	t.Helper()
	img, rd, err := image.Read(bytes.NewReader(b))
	require.NoError(t, err)
	var all []image.Pages
	for {
		p, err := rd.Next()
		if errors.Is(err, io.EOF) {
			return img, all
		}
		require.NoError(t, err)
		p.Data = append([]byte(nil), p.Data...)
		all = append(all, *p)
	}
}

func rewrite(t *testing.T, to *regset.Machine, b []byte) ([]byte, error) {
	t.Helper()
	img, rd, err := image.Read(bytes.NewReader(b))
	require.NoError(t, err)
	var out bytes.Buffer
	err = convert.Rewrite(to, img, rd, &out)
	return out.Bytes(), err
}

func TestRewrite(t *testing.T) {
	for _, test := range moves {
		t.Run(test.name, func(t *testing.T) {
			before := imagetest.Bytes(test.img)
			after, err := rewrite(t, test.to, before)
			if test.reason != "" {
				require.ErrorContains(t, err, test.reason)
				require.Empty(t, after)
				return
			}
			require.NoError(t, err)
			old, oldPages := read(t, before)
			img, pages := read(t, after)
			require.Equal(t, oldPages, pages)

			// It is the machine's own.
			h := img.Header
			require.Equal(t, []any{test.to.Arch, test.to.Release, test.to.HWCAP, test.to.HWCAP2, test.to.Arch},
				[]any{h.Machine, h.Release, h.HWCAP, h.HWCAP2, h.ABI.String()})
			require.Empty(t, convert.Check(test.to, img))
			states, err := convert.Fit(test.to, img)
			require.NoError(t, err)
			for _, c := range img.CPUs {
				for _, s := range states[c.TID].Sets {
					require.Equal(t, s.Data, c.State.Find(s.Note), "a second time changes set %#x", uint32(s.Note))
				}
				require.Equal(t, old.CPUOf(c.TID).State.Used, c.State.Used)
			}

			// Nothing else has changed.
			h.ABI, h.Machine, h.Release = old.Header.ABI, old.Header.Machine, old.Header.Release
			h.HWCAP, h.HWCAP2 = old.Header.HWCAP, old.Header.HWCAP2
			require.Equal(t, old.Header, h)
			require.Equal(t, old.MMs, img.MMs)
			require.Equal(t, old.Processes, img.Processes)
			require.Equal(t, old.Tasks, img.Tasks)

			again, err := rewrite(t, test.to, after)
			require.NoError(t, err)
			require.Equal(t, after, again)
		})
	}
}

func TestRewriteSets(t *testing.T) {
	sets := func(b []byte) map[string]int {
		img, _ := read(t, b)
		s := &img.CPUOf(imagetest.Thread).State
		sizes := map[string]int{}
		for _, d := range cpu.For(s.ABI).Table(s.ABI) {
			if data := s.Find(d.Note); data != nil {
				sizes[d.Name] = len(data)
			}
		}
		return sizes
	}
	img := made(power8, regset.PPC64, vmx(1), set(regset.PPC_VSX, 256, 0, 0), set(regset.PPC_TAR, 8, 0, 0))
	require.Contains(t, sets(imagetest.Bytes(img)), "NT_PPC_VSX")
	out, err := rewrite(t, g5, imagetest.Bytes(img))
	require.NoError(t, err)
	require.Contains(t, sets(out), "NT_PPC_VMX")
	require.NotContains(t, sets(out), "NT_PPC_VSX")
	require.NotContains(t, sets(out), "NT_PPC_TAR")

	out, err = rewrite(t, laptop, imagetest.Bytes(made(server, regset.X86_64, xstate(0xe7, 7))))
	require.NoError(t, err)
	require.Equal(t, map[string]int{"NT_PRSTATUS": 216, "NT_X86_XSTATE": 832, "XLAYOUT": 12}, sets(out))

	out, err = rewrite(t, nehalem, imagetest.Bytes(made(server, regset.X86_64, xstate(0xe7, 3))))
	require.NoError(t, err)
	require.Equal(t, map[string]int{"NT_PRSTATUS": 216, "NT_PRFPREG": 512}, sets(out))
}

// TestRewriteDamaged: damage in the memory of an image, which is read while the
// new one is written, is an error, and the new one has no tail.
func TestRewriteDamaged(t *testing.T) {
	b := imagetest.Bytes(made(power8, regset.PPC64))
	b[len(b)-2000] ^= 1
	out, err := rewrite(t, power9, b)
	require.ErrorIs(t, err, image.ErrCorrupt)
	_, rd, err := image.Read(bytes.NewReader(out))
	for err == nil {
		_, err = rd.Next()
	}
	require.ErrorIs(t, err, image.ErrTruncated)
}
