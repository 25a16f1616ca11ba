package image_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"cr/image"
	"cr/image/imagetest"
)

func seeds(f *testing.F) {
	for _, abi := range imagetest.ABIs {
		f.Add(imagetest.Bytes(imagetest.Image(abi)))
		f.Add(imagetest.Shared(abi))
	}
}

// read reads an image as those do who trust nothing, and checks what the reader
// promises: an image that is read whole is the same when it is written and read
// again, and nothing is allocated that the stream does not hold.
func read(t *testing.T, b []byte) {
	m, pages, err := readAll(bytes.NewReader(b))
	if err != nil {
		require.ErrorIs(t, err, image.ErrFormat)
		return
	}
	require.NoError(t, m.Validate())
	var again bytes.Buffer
	w, err := image.NewWriter(&again, m)
	require.NoError(t, err)
	for _, p := range pages {
		require.NoError(t, w.Pages(p.Owner, p.Shm, p.Runs, p.Data))
	}
	require.NoError(t, w.Close())
	m2, pages2, err := readAll(bytes.NewReader(again.Bytes()))
	require.NoError(t, err)
	require.Equal(t, m.Records(), m2.Records())
	require.Equal(t, pages, pages2)
	checkEach(t, again.Bytes())
}

// checkEach makes sure that each page of those that share memory is given to them
// once, in a private mapping of theirs.
func checkEach(t *testing.T, b []byte) {
	m, rd, err := image.Read(bytes.NewReader(b))
	require.NoError(t, err)
	given := make(map[[2]uint64]bool)
	require.NoError(t, rd.Each(func(p *image.Pages) error {
		at := uint64(0)
		for _, r := range p.Runs {
			for n := uint64(0); n < r.Len && !p.Shm; n += uint64(m.Header.PageSize) {
				page := [2]uint64{uint64(p.Owner), r.Addr + n}
				require.False(t, given[page], "%x", page)
				given[page] = true
			}
			at += r.Len
		}
		require.Len(t, p.Data, int(at))
		return nil
	}))
}

func FuzzRead(f *testing.F) {
	seeds(f)
	f.Fuzz(read)
}

// FuzzReadSealed makes the checksums right before it reads, so that the bytes
// behind them are reached.
func FuzzReadSealed(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, b []byte) { read(t, seal(b)) })
}

// seal makes the checksums of a stream right, as far as it has records.
func seal(b []byte) []byte {
	b = append([]byte(nil), b...)
	le := binary.LittleEndian
	var all []byte // of the heads, what the tail sums
	for at, n := 16, uint64(0); at+32 <= len(b); n++ {
		h := b[at : at+32]
		length, pad := le.Uint64(h[8:]), uint64(le.Uint32(h[16:]))
		rest := b[at+32:]
		if pad > uint64(len(rest)) || length > uint64(len(rest))-pad {
			break
		}
		payload := rest[pad : pad+length]
		if image.Tag(le.Uint32(h)) == image.TagTail && len(payload) >= 12 {
			le.PutUint64(payload, n)
			le.PutUint32(payload[8:], image.Sum(all))
		}
		le.PutUint32(h[20:], image.Sum(payload))
		le.PutUint32(h[28:], image.Sum(h[:28]))
		all = append(all, h[:28]...)
		at += 32 + int(pad+length)
	}
	return b
}

func TestSeal(t *testing.T) {
	b := imagetest.Bytes(imagetest.Image(imagetest.ABIs[0]))
	require.Equal(t, b, seal(b), "a good image is sealed already")
	broken := append([]byte(nil), b...)
	for i := 16 + 28; i < 16+32; i++ {
		broken[i] = 0
	}
	require.Equal(t, b, seal(broken))
}

// FuzzRecord decodes one record.
func FuzzRecord(f *testing.F) {
	for _, abi := range imagetest.ABIs {
		for _, r := range imagetest.Image(abi).Records() {
			payload, err := image.Encode(r)
			require.NoError(f, err)
			f.Add(uint32(image.TagOf(r)), payload)
		}
	}
	f.Fuzz(func(t *testing.T, tag uint32, payload []byte) {
		for _, r := range image.Samples() {
			if image.TagOf(r) != image.Tag(tag) {
				continue
			}
			n, err := image.Decode(r, payload)
			if err != nil {
				return
			}
			again, err := image.Encode(r)
			require.NoError(t, err)
			require.Equal(t, payload[:len(payload)-n], again, "the encoding is not the only one")
		}
	})
}

const benchPages = 64 << 20

func benchImage() (*image.Image, []byte) {
	m := imagetest.Image(imagetest.ABIs[1])
	m.MMs[0].VMAs = append(m.MMs[0].VMAs, image.VMA{Start: 1 << 32, End: 1<<32 + benchPages, Prot: 3})
	m.Bytes = benchPages
	return m, bytes.Repeat(imagetest.Page(7), image.MaxPages/imagetest.PageSize)
}

func writeBench(w io.Writer, m *image.Image, data []byte) error {
	wr, err := image.NewWriter(w, m)
	for at := uint64(0); err == nil && at < benchPages; at += uint64(len(data)) {
		err = wr.Pages(1, false, []image.Run{{Addr: 1<<32 + at, Len: uint64(len(data))}}, data)
	}
	if err == nil {
		err = wr.Close()
	}
	return err
}

func BenchmarkWrite(b *testing.B) {
	for _, size := range []int{imagetest.PageSize, 64 << 10, image.MaxPages} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			m, data := benchImage()
			b.SetBytes(benchPages)
			b.ReportAllocs()
			for i := 0; i < b.N; i++ {
				if err := writeBench(io.Discard, m, data[:size]); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkRead(b *testing.B) {
	for _, size := range []int{imagetest.PageSize, 64 << 10, image.MaxPages} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			m, data := benchImage()
			var whole bytes.Buffer
			if err := writeBench(&whole, m, data[:size]); err != nil {
				b.Fatal(err)
			}
			b.SetBytes(benchPages)
			b.ReportAllocs()
			b.ResetTimer()
			for i := 0; i < b.N; i++ {
				_, rd, err := image.Read(bytes.NewReader(whole.Bytes()))
				for err == nil {
					_, err = rd.Next()
				}
				if !errors.Is(err, io.EOF) {
					b.Fatal(err)
				}
			}
		})
	}
}
