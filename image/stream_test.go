package image_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"

	"cr/image"
	"cr/image/imagetest"
	"cr/regset"
)

// readAll reads a whole image.
func readAll(r io.Reader) (*image.Image, []image.Pages, error) {
	m, rd, err := image.Read(r)
	if err != nil {
		return nil, nil, err
	}
	var all []image.Pages
	for {
		p, err := rd.Next()
		if errors.Is(err, io.EOF) {
			return m, all, nil
		}
		if err != nil {
			return nil, nil, err
		}
		q := *p
		q.Data = append([]byte(nil), p.Data...)
		all = append(all, q)
	}
}

func TestRoundTrip(t *testing.T) {
	readers := map[string]func(io.Reader) io.Reader{
		"whole":      func(r io.Reader) io.Reader { return r },
		"one byte":   iotest.OneByteReader,
		"half":       iotest.HalfReader,
		"EOF at end": iotest.DataErrReader,
	}
	for _, abi := range imagetest.ABIs {
		for name, reader := range readers {
			t.Run(fmt.Sprint(abi, "/", name), func(t *testing.T) {
				m := imagetest.Image(abi)
				got, pages, err := readAll(reader(bytes.NewReader(imagetest.Bytes(m))))
				require.NoError(t, err)
				require.Equal(t, m.Records(), got.Records())
				require.Equal(t, m.Bytes, got.Bytes)
				require.Len(t, pages, 3)
				require.Equal(t, image.Pages{
					Owner: 1,
					Runs:  []image.Run{{Addr: imagetest.Heap, Len: 8192}, {Addr: imagetest.Stack + 4096, Len: 4096}},
					Data:  bytes.Join([][]byte{imagetest.Page(0), imagetest.Page(1), imagetest.Page(2)}, nil),
				}, pages[0])
				require.Equal(t, image.Pages{
					Owner: 1, Shm: true, Runs: []image.Run{{Addr: 4096, Len: 4096}}, Data: imagetest.Page(99),
				}, pages[2])
			})
		}
	}
}

// TestPipe writes more than a pipe holds, so that both sides see short
// transfers, and puts something behind the image, which must be left there.
func TestPipe(t *testing.T) {
	r, w, err := os.Pipe()
	require.NoError(t, err)
	defer r.Close()
	m := imagetest.Image(regset.PPC)
	const size = image.MaxPages
	m.MMs[0].VMAs = append(m.MMs[0].VMAs, image.VMA{Start: 0x90000000, End: 0x90000000 + 4*size, Prot: 3})
	m.Bytes = 4 * size
	data := bytes.Repeat(imagetest.Page(3), size/imagetest.PageSize)
	failed := make(chan error, 1)
	go func() {
		wr, err := image.NewWriter(w, m)
		for i := uint64(0); i < 4 && err == nil; i++ {
			data[0] = byte(i)
			err = wr.Pages(1, false, []image.Run{{Addr: 0x90000000 + i*size, Len: size}}, data)
		}
		if err == nil {
			err = wr.Close()
		}
		if err == nil {
			_, err = io.WriteString(w, "behind")
		}
		w.Close()
		failed <- err
	}()
	got, rd, err := image.Read(r)
	require.NoError(t, err)
	require.Equal(t, m.Records(), got.Records())
	for i := 0; i < 4; i++ {
		p, err := rd.Next()
		require.NoError(t, err)
		require.Equal(t, byte(i), p.Data[0])
		require.True(t, bytes.Equal(p.Data[4096:8192], imagetest.Page(3)))
	}
	_, err = rd.Next()
	require.Equal(t, io.EOF, err)
	rest, err := io.ReadAll(r)
	require.NoError(t, err)
	require.Equal(t, "behind", string(rest))
	require.NoError(t, <-failed)
}

// TestWriteError checks that a write that fails is reported, wherever it does.
func TestWriteError(t *testing.T) {
	m := imagetest.Image(regset.X86_64)
	whole := len(imagetest.Bytes(m))
	for _, room := range []int{0, 16, 1000, 70000, whole - 1} {
		if room >= whole {
			continue
		}
		w := &limitedWriter{room: room}
		wr, err := image.NewWriter(w, m)
		for i := 0; i < 30 && err == nil; i++ {
			err = wr.Pages(1, false, []image.Run{{Addr: imagetest.Heap, Len: 4096}}, imagetest.Page(1))
		}
		if err == nil {
			err = wr.Close()
		}
		require.ErrorIs(t, err, errFull, "room for %d bytes", room)
	}
}

var errFull = errors.New("full")

type limitedWriter struct{ room int }

func (w *limitedWriter) Write(b []byte) (int, error) {
	if len(b) > w.room {
		return w.room, errFull
	}
	w.room -= len(b)
	return len(b), nil
}

// heads walks the records of a stream.
func heads(t *testing.T, b []byte, visit func(tag image.Tag, start, payload, length int)) {
	for at := 16; at < len(b); {
		le := binary.LittleEndian
		tag := image.Tag(le.Uint32(b[at:]))
		length, pad := int(le.Uint64(b[at+8:])), int(le.Uint32(b[at+16:]))
		visit(tag, at, at+32+pad, length)
		at += 32 + pad + length
		require.LessOrEqual(t, at, len(b))
	}
}

func TestPageAlignment(t *testing.T) {
	for _, size := range []uint32{4096, 65536} {
		m := imagetest.Image(regset.PPC64)
		m.Header.PageSize = size
		var b bytes.Buffer
		w, err := image.NewWriter(&b, m)
		require.NoError(t, err)
		for i := 0; i < 5; i++ {
			require.NoError(t, w.Pages(1, false, []image.Run{{Addr: 0, Len: uint64(size)}}, make([]byte, size)))
		}
		require.NoError(t, w.Close())
		require.EqualValues(t, b.Len(), w.Offset())
		found := 0
		heads(t, b.Bytes(), func(tag image.Tag, start, payload, length int) {
			if tag == image.TagPages {
				found++
				require.Zero(t, payload%int(size))
				require.Less(t, payload-start, 32+int(size))
			}
		})
		require.Equal(t, 5, found)
	}
}

// TestFraming is about the rules for records that a reader does not know, or
// does not expect.
func TestFraming(t *testing.T) {
	const skippable = 1
	payload := []byte("what a later version says")
	head := func(tag image.Tag, flags uint32) image.Head {
		return image.Head{Tag: tag, Flags: flags, Length: uint64(len(payload)), Sum: image.Sum(payload)}
	}
	for _, c := range []struct {
		name   string
		head   image.Head
		reason string // "" if it is passed over
	}{
		{"unknown, skippable", head(200, skippable), ""},
		{"unknown", head(200, 0), "not known"},
		{"metadata out of place", head(image.TagTask, 0), "not known, or out of place"},
		{"metadata out of place, skippable", head(image.TagTask, skippable), "flags 0x1"},
		{"second header", head(image.TagHeader, 0), "not known, or out of place"},
		{"pages without runs", head(image.TagPages, 0), "out of place"},
		{"second memory record", head(image.TagMemory, 0), "out of place"},
		{"unknown flag", head(200, skippable|2), "flags 0x3"},
		{"padding", image.Head{Tag: 200, Flags: skippable, Length: 1, Pad: 1, Sum: image.Sum([]byte{0})}, "padding"},
		{"checksum", image.Head{Tag: 200, Flags: skippable, Length: uint64(len(payload)), Sum: 1}, "checksum"},
		{"length", image.Head{Tag: 200, Flags: skippable, Length: 1 << 40}, "bytes long"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := imagetest.Image(regset.I386)
			var b bytes.Buffer
			w, err := image.NewWriter(&b, m)
			require.NoError(t, err)
			require.NoError(t, w.Raw(c.head, payload))
			require.NoError(t, w.Close())
			got, _, err := readAll(&b)
			if c.reason == "" {
				require.NoError(t, err)
				require.Equal(t, m.Records(), got.Records())
				return
			}
			require.ErrorIs(t, err, image.ErrFormat)
			require.ErrorContains(t, err, c.reason)
			var re *image.RecordError
			require.ErrorAs(t, err, &re)
			require.Equal(t, c.head.Tag, re.Tag)
		})
	}
}

// TestManySkipped has more skippable records than a stack holds frames.
func TestManySkipped(t *testing.T) {
	m := imagetest.Image(regset.PPC)
	var b bytes.Buffer
	w, err := image.NewWriter(&b, m)
	require.NoError(t, err)
	for i := 0; i < 200000; i++ {
		require.NoError(t, w.Raw(image.Head{Tag: 300, Flags: 1}, nil))
	}
	require.NoError(t, w.Close())
	_, _, err = readAll(&b)
	require.NoError(t, err)
}

func TestPrefix(t *testing.T) {
	good := imagetest.Bytes(imagetest.Image(regset.X86_64))
	change := func(at int, v byte) []byte {
		b := append([]byte(nil), good...)
		b[at] = v
		return b
	}
	for name, c := range map[string]struct {
		in   []byte
		want error
	}{
		"empty":         {nil, image.ErrMagic},
		"text":          {[]byte("#!/bin/sh\necho this is no image\n"), image.ErrMagic},
		"version":       {change(8, 2), image.ErrVersion},
		"reserved word": {change(12, 1), image.ErrCorrupt},
		"prefix alone":  {good[:16], image.ErrTruncated},
	} {
		_, _, err := image.Read(bytes.NewReader(c.in))
		require.ErrorIs(t, err, c.want, name)
		require.ErrorIs(t, err, image.ErrFormat, name)
	}
}

func TestReadError(t *testing.T) {
	broken := errors.New("broken")
	b := imagetest.Bytes(imagetest.Image(regset.X86_64))
	for _, n := range []int{0, 10, 40, 1000, len(b) - 1} {
		_, _, err := readAll(io.MultiReader(bytes.NewReader(b[:n]), iotest.ErrReader(broken)))
		require.ErrorIs(t, err, broken)
		require.NotErrorIs(t, err, image.ErrFormat, "an error of the stream is not one of the image")
	}
}
