package image_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"runtime"
	"runtime/debug"
	"testing"

	"github.com/stretchr/testify/require"

	"cr/image"
	"cr/image/imagetest"
	"cr/regset"
)

// small is a small image: one process, one page.
func small(t *testing.T) []byte {
	m := imagetest.Image(regset.PPC)
	m.Processes, m.Tasks, m.CPUs, m.MMs = m.Processes[:1], m.Tasks[:1], m.CPUs[:1], m.MMs[:1]
	m.Processes[0].Timers, m.Shares = nil, nil
	m.Tables[0].FDs, m.Files = m.Tables[0].FDs[:4], m.Files[:5]
	m.Sockets, m.Epolls, m.Inotifies, m.Ptys = m.Sockets[:0], nil, nil, m.Ptys[:1]
	var b bytes.Buffer
	w, err := image.NewWriter(&b, m)
	require.NoError(t, err)
	require.NoError(t, w.Pages(1, false, []image.Run{{Addr: imagetest.Heap, Len: 4096}}, imagetest.Page(1)))
	require.NoError(t, w.Close())
	_, _, err = readAll(bytes.NewReader(b.Bytes()))
	require.NoError(t, err)
	return b.Bytes()
}

func TestEveryTruncation(t *testing.T) {
	b := small(t)
	for n := range b {
		_, _, err := readAll(bytes.NewReader(b[:n]))
		require.ErrorIs(t, err, image.ErrFormat, "%d of %d bytes", n, len(b))
	}
	t.Logf("%d truncations refused", len(b))
}

func TestEveryBitFlip(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(1000))
	b := small(t)
	for bit := 0; bit < 8*len(b); bit++ {
		b[bit/8] ^= 1 << (bit % 8)
		_, _, err := readAll(bytes.NewReader(b))
		if !errors.Is(err, image.ErrFormat) {
			require.FailNow(t, "accepted", "bit %d of byte %d: %v", bit%8, bit/8, err)
		}
		b[bit/8] ^= 1 << (bit % 8)
	}
	t.Logf("%d bit flips refused", 8*len(b))
}

// TestRecordsShuffled takes each record out, doubles it, and swaps it with the
// next. What is then refused depends on the record; metadata may be in any
// order, but the tail knows better.
func TestRecordsShuffled(t *testing.T) {
	b := imagetest.Bytes(imagetest.Image(regset.PPC64))
	var starts []int
	heads(t, b, func(_ image.Tag, start, _, _ int) { starts = append(starts, start) })
	starts = append(starts, len(b))
	piece := func(i int) []byte { return b[starts[i]:starts[i+1]] }
	n := len(starts) - 1
	for i := 0; i < n; i++ {
		before, after := b[:starts[i]], b[starts[i+1]:]
		cases := map[string][]byte{"missing": bytes.Join([][]byte{before, after}, nil)}
		if i < n-1 { // a doubled tail lies behind the image
			cases["doubled"] = bytes.Join([][]byte{before, piece(i), piece(i), after}, nil)
			cases["swapped"] = bytes.Join([][]byte{before, piece(i + 1), piece(i), b[starts[i+2]:]}, nil)
		}
		for name, in := range cases {
			_, _, err := readAll(bytes.NewReader(in))
			require.ErrorIs(t, err, image.ErrFormat, "record %d %s", i, name)
		}
	}
}

// allocated is how many bytes f allocates.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// TestClaimedLength has records that claim to be far longer than the stream.
func TestClaimedLength(t *testing.T) {
	for _, length := range []uint64{1 << 20, 1 << 30, 1<<30 + 1, 1 << 40, ^uint64(0)} {
		var b bytes.Buffer
		w, err := image.NewWriter(&b, imagetest.Image(regset.X86_64))
		require.NoError(t, err)
		require.NoError(t, w.Raw(image.Head{Tag: image.TagRuns, Length: length}, make([]byte, 100)))
		require.NoError(t, w.Close())
		n := allocated(func() { _, _, err = readAll(&b) })
		require.ErrorIs(t, err, image.ErrFormat)
		require.Less(t, n, uint64(2*image.MaxPages), "claimed %#x bytes", length)
	}
}

// TestClaimedCount puts the largest number where each count could be, in every
// record.
func TestClaimedCount(t *testing.T) {
	for _, r := range imagetest.Image(regset.X86_64).Records() {
		payload, err := image.Encode(r)
		require.NoError(t, err)
		for at := 0; at+4 <= len(payload); at++ {
			in := append([]byte(nil), payload...)
			for _, v := range []uint32{^uint32(0), 1 << 31, 1 << 24} {
				binary.LittleEndian.PutUint32(in[at:], v)
				n := allocated(func() {
					for _, into := range image.Samples() {
						if image.TagOf(into) == image.TagOf(r) {
							image.Decode(into, in)
						}
					}
				})
				require.Less(t, n, uint64(64<<10), "%v: %#x at byte %d", image.TagOf(r), v, at)
			}
		}
	}
}
