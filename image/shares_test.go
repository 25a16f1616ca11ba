package image_test

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"cr/image"
	"cr/image/imagetest"
	"cr/regset"
)

const sharedPage = imagetest.PageSize

// TestSharedRuns writes runs of two MMs, the second of which has the pages of the
// heap from the second on of the first, but for the third.
func TestSharedRuns(t *testing.T) {
	const heap, stack = imagetest.Heap, imagetest.Stack
	first := piece{1, false, []image.Run{{heap + sharedPage, sharedPage}, {heap + 3*sharedPage, sharedPage}}}
	for _, c := range []struct {
		name   string
		pieces []piece
		want   string // "" if they are right
	}{
		{"none", nil, ""},
		{"first what is shared", []piece{first, {1, false, []image.Run{{heap, sharedPage}}}, {2, false, []image.Run{{heap, sharedPage}, {heap + 2*sharedPage, sharedPage}}}}, ""},
		{"own ones only", []piece{{2, false, []image.Run{{heap, sharedPage}}}, {1, false, []image.Run{{heap, sharedPage}}}}, ""},
		{"behind others", []piece{{2, false, []image.Run{{stack, sharedPage}}}, first}, "mm 1: pages that are shared, behind others"},
		{"twice", []piece{first, first}, "twice, or out of order"},
		{"one that is shared, one that is not", []piece{{1, false, []image.Run{{heap, 2 * sharedPage}}}}, "shared in part, or another's"},
		{"a run of each", []piece{{1, false, []image.Run{{heap + sharedPage, sharedPage}, {heap + 2*sharedPage, sharedPage}}}}, "shared in part, or another's"},
		{"the other way round", []piece{{1, false, []image.Run{{heap, sharedPage}, {heap + sharedPage, sharedPage}}}}, "shared in part, or another's"},
		{"of one that shares it", []piece{first, {2, false, []image.Run{{heap + sharedPage, sharedPage}}}}, "mm 2: run of 4096 bytes at 0x10011000: it is shared in part, or another's"},
	} {
		t.Run(c.name, func(t *testing.T) {
			writePieces(t, sharing(), c.pieces, c.want)
		})
	}
}

// sharing is an image whose MM 2 has two pages as MM 1 has them.
func sharing() *image.Image {
	m := imagetest.Image(regset.X86_64)
	m.Shares[0].List = []image.Share{{From: 1, Addr: imagetest.Heap + sharedPage, Len: sharedPage},
		{From: 1, Addr: imagetest.Heap + 3*sharedPage, Len: sharedPage}}
	return m
}

// TestSources joins what several MMs have of one.
func TestSources(t *testing.T) {
	m := sharing()
	third := *m.MMs[1]
	third.ID = 3
	m.MMs = append(m.MMs, &third)
	m.Shares = append(m.Shares, &image.Shares{MM: 3, List: []image.Share{{From: 1, Addr: imagetest.Heap, Len: 2 * sharedPage},
		{From: 1, Addr: imagetest.Stack, Len: sharedPage}}})
	require.NoError(t, m.Validate())
	require.Equal(t, []image.Run{{Addr: imagetest.Heap, Len: 2 * sharedPage}, {Addr: imagetest.Heap + 3*sharedPage, Len: sharedPage},
		{Addr: imagetest.Stack, Len: sharedPage}}, m.Sources(1))
	require.Empty(t, m.Sources(2))
	require.Equal(t, m.Shares[0].List, m.SharesOf(2))
	require.Empty(t, m.SharesOf(1))
}

// TestEach gives those who share pages what others have in the stream.
func TestEach(t *testing.T) {
	m := sharing()
	m.Shares[0].List = []image.Share{{From: 1, Addr: imagetest.Heap + sharedPage, Len: 3 * sharedPage}}
	var b bytes.Buffer
	w, err := image.NewWriter(&b, m)
	require.NoError(t, err)
	one, two, own := imagetest.Page(1), imagetest.Page(2), imagetest.Page(3)
	runs := []image.Run{{Addr: imagetest.Heap + sharedPage, Len: sharedPage}, {Addr: imagetest.Heap + 3*sharedPage, Len: sharedPage}}
	require.NoError(t, w.Pages(1, false, runs, append(append([]byte(nil), one...), two...)))
	require.NoError(t, w.Pages(2, false, []image.Run{{Addr: imagetest.Heap, Len: sharedPage}}, own))
	require.NoError(t, w.Close())
	_, rd, err := image.Read(&b)
	require.NoError(t, err)
	var got []image.Pages
	require.NoError(t, rd.Each(func(p *image.Pages) error {
		q := *p
		q.Data = append([]byte(nil), p.Data...)
		got = append(got, q)
		return nil
	}))
	both := append(append([]byte(nil), one...), two...)
	require.Equal(t, []image.Pages{
		{Owner: 1, Runs: runs, Data: both, Common: true},
		{Owner: 2, Runs: runs, Data: both, From: 1},
		{Owner: 2, Runs: []image.Run{{Addr: imagetest.Heap, Len: sharedPage}}, Data: own},
	}, got)
}

// TestSharedImage gives each page of those that share memory once.
func TestSharedImage(t *testing.T) {
	for _, abi := range imagetest.ABIs {
		checkEach(t, imagetest.Shared(abi))
	}
}

// TestEachInPieces is about pages that do not lie side by side in the stream.
func TestEachInPieces(t *testing.T) {
	m := sharing()
	third := *m.MMs[1]
	third.ID = 3
	m.MMs = append(m.MMs, &third)
	m.Shares = append(m.Shares, &image.Shares{MM: 3, List: []image.Share{{From: 1, Addr: imagetest.Heap, Len: 4 * sharedPage}}})
	var b bytes.Buffer
	w, err := image.NewWriter(&b, m)
	require.NoError(t, err)
	var data []byte
	for i := byte(0); i < 4; i++ {
		data = append(data, imagetest.Page(i)...)
	}
	require.NoError(t, w.Pages(1, false, []image.Run{{Addr: imagetest.Heap, Len: 4 * sharedPage}}, data))
	require.NoError(t, w.Close())
	_, rd, err := image.Read(&b)
	require.NoError(t, err)
	got := map[uint32]map[uint64][]byte{1: {}, 2: {}, 3: {}}
	require.NoError(t, rd.Each(func(p *image.Pages) error {
		at := uint64(0)
		for _, r := range p.Runs {
			for n := uint64(0); n < r.Len; n += sharedPage {
				got[p.Owner][r.Addr+n] = append([]byte(nil), p.Data[at:at+sharedPage]...)
				at += sharedPage
			}
		}
		require.Len(t, p.Data, int(at))
		return nil
	}))
	whole := map[uint64][]byte{}
	for i := uint64(0); i < 4; i++ {
		whole[imagetest.Heap+i*sharedPage] = imagetest.Page(byte(i))
	}
	require.Equal(t, whole, got[1])
	require.Equal(t, whole, got[3])
	require.Equal(t, map[uint64][]byte{
		imagetest.Heap + sharedPage:   imagetest.Page(1),
		imagetest.Heap + 3*sharedPage: imagetest.Page(3),
	}, got[2])
}
