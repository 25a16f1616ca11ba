package image_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"reflect"
	"testing"

	"github.com/stretchr/testify/require"

	"cr/image"
	"cr/image/imagetest"
	"cr/regset"
)

// recordBytes is a record as it is in a stream.
func recordBytes(tag image.Tag, flags uint32, length int, payload []byte) []byte {
	b := make([]byte, 32, 32+len(payload))
	binary.LittleEndian.PutUint32(b, uint32(tag))
	binary.LittleEndian.PutUint32(b[4:], flags)
	binary.LittleEndian.PutUint64(b[8:], uint64(length))
	binary.LittleEndian.PutUint32(b[20:], image.Sum(payload))
	binary.LittleEndian.PutUint32(b[28:], image.Sum(b[:28]))
	return append(b, payload...)
}

// endless gives some bytes, and then others again and again.
type endless struct {
	rest, again []byte
	given       int
}

func (e *endless) Read(b []byte) (int, error) {
	if len(e.rest) == 0 {
		e.rest = e.again
	}
	n := copy(b, e.rest)
	e.rest = e.rest[n:]
	e.given += n
	return n, nil
}

// TestEndlessRecords reads streams of records that never end.
func TestEndlessRecords(t *testing.T) {
	var b bytes.Buffer
	w, err := image.NewWriter(&b, imagetest.Image(regset.X86_64))
	require.NoError(t, err)
	require.NoError(t, w.Close())
	stream := b.Bytes()
	header, behind := 0, 0 // where what follows the header, and the memory record, begins
	heads(t, stream, func(tag image.Tag, _, payload, length int) {
		switch tag {
		case image.TagHeader:
			header = payload + length
		case image.TagMemory:
			behind = payload + length
		}
	})
	pipe, err := image.Encode(&image.Pipe{ID: 1, Data: make([]byte, 1<<20)})
	require.NoError(t, err)
	unknown := image.Tag(4711)
	for name, c := range map[string]struct {
		before, record []byte
		tag            image.Tag
	}{
		"pipes":                              {stream[:header], recordBytes(image.TagPipe, 0, len(pipe), pipe), image.TagPipe},
		"one that is too long":               {stream[:header], recordBytes(image.TagPipe, 0, image.MaxMetadata, nil), image.TagPipe},
		"records to pass over":               {stream[:header], recordBytes(unknown, 1, len(pipe), pipe), unknown},
		"records to pass over, among memory": {stream[:behind], recordBytes(unknown, 1, len(pipe), pipe), unknown},
		"one of nothing, to pass over":       {stream[:behind], bytes.Repeat(recordBytes(unknown, 1, 0, nil), 1000), unknown},
	} {
		t.Run(name, func(t *testing.T) {
			r := &endless{rest: c.before, again: c.record}
			var err error
			n := allocated(func() { _, _, err = readAll(r) })
			var bad *image.RecordError
			require.ErrorAs(t, err, &bad)
			require.ErrorIs(t, err, image.ErrInvalid)
			require.Equal(t, c.tag, bad.Tag)
			require.LessOrEqual(t, r.given, image.MaxMetadata+len(c.before))
			require.Less(t, n, uint64(2*image.MaxMetadata))
			t.Logf("after %d bytes, for which %d were allocated: %v", r.given, n, err)
		})
	}
}

// TestMemoryOfRecords measures how much memory records take, for their size in
// the stream: the smallest of each kind, and the smallest elements of lists.
func TestMemoryOfRecords(t *testing.T) {
	const n = 100
	records := append(image.Samples(),
		&image.Task{Pending: make([][]byte, n)}, &image.Process{Timers: make([]image.Timer, n), Pending: make([][]byte, n)},
		&image.MM{VMAs: make([]image.VMA, n)}, &image.Shares{List: make([]image.Share, n)}, &image.Files{FDs: make([]image.FD, n), Locks: make([]image.Lock, n)},
		&image.Socket{Messages: make([]image.Message, n)}, &image.Epoll{Targets: make([]image.EpollTarget, n)},
		&image.Inotify{Watches: make([]image.Watch, n)}, &image.File{Locks: make([]image.Lock, n)},
		&image.Sighand{Actions: make([]image.Action, n)}, &image.CPU{State: regset.State{Sets: make([]regset.Set, n)}})
	worst, which := 0.0, ""
	for i, r := range records {
		payload, err := image.Encode(r)
		require.NoError(t, err)
		kind := reflect.TypeOf(r).Elem()
		bytes := allocated(func() {
			for j := 0; j < n; j++ {
				rest, err := image.Decode(reflect.New(kind).Interface().(image.Record), payload)
				require.NoError(t, err)
				require.Zero(t, rest)
			}
		})
		if ratio := float64(bytes) / float64(n*(32+len(payload))); ratio > worst {
			worst, which = ratio, fmt.Sprintf("%v, number %d", image.TagOf(r), i)
		}
	}
	t.Logf("at most %.1f bytes for one in the stream: %s", worst, which)
	require.Less(t, worst, 6.0)
}

// TestLargeImage has as much as docs/robustness.md measures, all in one.
func TestLargeImage(t *testing.T) {
	m := imagetest.Image(regset.X86_64)
	cpu := *m.CPUs[0]
	cpu.State.Sets = []regset.Set{{Note: regset.PRSTATUS, Data: make([]byte, 216)}, {Note: 0x202, Data: make([]byte, 11<<10)}} // AMX
	for i := uint32(0); i < 2000; i++ {
		task := *m.Tasks[0]
		m.Tasks, m.CPUs = append(m.Tasks, &task), append(m.CPUs, &cpu)
		if i < 1000 {
			p, mm, sighand := *m.Processes[0], *m.MMs[0], *m.Sighands[0]
			mm.VDSO = make([]byte, 8<<10)
			for len(mm.VMAs) < 50 {
				mm.VMAs = append(mm.VMAs, image.VMA{Name: "/usr/lib/x86_64-linux-gnu/libexample.so.1.0.0"})
			}
			m.Processes, m.MMs, m.Sighands = append(m.Processes, &p), append(m.MMs, &mm), append(m.Sighands, &sighand)
		}
	}
	for i := 0; i < 10000; i++ {
		m.MMs[0].VMAs = append(m.MMs[0].VMAs, image.VMA{Name: "/usr/lib/x86_64-linux-gnu/libexample.so.1.0.0"})
		f := *m.Files[0]
		m.Files, m.Tables[0].FDs = append(m.Files, &f), append(m.Tables[0].FDs, image.FD{})
	}
	w, err := image.NewWriter(io.Discard, m)
	require.NoError(t, err)
	t.Logf("%d bytes, a %.1fth of what is allowed", w.Offset(), image.MaxMetadata/float64(w.Offset()))
	require.Less(t, w.Offset(), int64(image.MaxMetadata/4))

	m.Pipes[0].Data = make([]byte, image.MaxMetadata-w.Offset())
	_, err = image.NewWriter(io.Discard, m)
	require.NoError(t, err, "to the last byte")
	m.Pipes[0].Data = make([]byte, image.MaxMetadata-w.Offset()+100)
	_, err = image.NewWriter(io.Discard, m)
	require.ErrorIs(t, err, image.ErrTooLarge)
}
