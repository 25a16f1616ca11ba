package inspect_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"cr/image"
	"cr/image/imagetest"
	"cr/inspect"
	"cr/regset"
)

func diff(t *testing.T, a, b []byte) []inspect.Difference {
	list, err := inspect.Diff(bytes.NewReader(a), bytes.NewReader(b))
	require.NoError(t, err)
	return list
}

func TestDiffSame(t *testing.T) {
	for _, abi := range imagetest.ABIs {
		m := imagetest.Image(abi)
		a := imagetest.Bytes(m)
		m.Header.ID, m.Header.Time = 99, 5
		require.Empty(t, diff(t, a, imagetest.Bytes(m)))
	}
}

// TestDiff changes one thing at a time.
func TestDiff(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*image.Image)
		want   inspect.Difference
	}{
		{"kernel", func(m *image.Image) { m.Header.Release = "7.0" }, inspect.Difference{What: "image", Name: "kernel", A: "6.12.95", B: "7.0"}},
		{"message", func(m *image.Image) { m.Queues[0].Messages[0].Data = []byte("other") }, inspect.Difference{
			What: "System V", Name: "queue 32769", A: "key 0x4e 600 1000:100 2 messages, 5 B of 16 KiB (caa8edee)", B: "key 0x4e 600 1000:100 2 messages, 5 B of 16 KiB (598b5faa)",
		}},
		{"descriptor of a thread", func(m *image.Image) {
			m.Tables, m.Tasks[1].Files = append(m.Tables, &image.Files{ID: 9, FDs: []image.FD{{Number: 3, File: 2}}}), 9
		}, inspect.Difference{PID: 100, TID: 101, What: "descriptor", Name: "3", B: "rw device /dev/null at 0"}},
		{"host name", func(m *image.Image) { m.Namespaces[0].Hostname = "other" }, inspect.Difference{
			What: "namespace", Name: "uts", A: "own host name inside", B: "own host name other",
		}},
		{"interface down", func(m *image.Image) { m.Namespaces[0].LoopbackUp = false }, inspect.Difference{
			What: "namespace", Name: "net", A: "own lo is up", B: "own lo is down",
		}},
		{"namespace gone", func(m *image.Image) {
			m.Namespaces[0].Own, m.Namespaces[0].MQueues, m.Namespaces[0].Sysctls = image.NewUTS|image.NewNet|image.NewUser|image.NewMount, nil, nil
		}, inspect.Difference{What: "namespace", Name: "ipc", A: "own message queues /jobs"}},
		{"semaphore", func(m *image.Image) { m.Semaphores[0].Values[1] = 6 }, inspect.Difference{
			What: "System V", Name: "semaphores 2", A: "key 0x0 640 1000:100 [0 5]", B: "key 0x0 640 1000:100 [0 6]",
		}},
		{"process gone", func(m *image.Image) { m.Processes = m.Processes[:2] }, inspect.Difference{PID: 103, What: "process", A: "dead"}},
		{"process new", func(m *image.Image) {
			p := *m.Processes[2]
			p.PID = 104
			m.Processes = append(m.Processes, &p)
		}, inspect.Difference{PID: 104, What: "process", B: "dead"}},
		{"state", func(m *image.Image) { m.Processes[1].State = image.Stopped }, inspect.Difference{PID: 102, What: "process", Name: "state", A: "running", B: "stopped"}},
		{"thread gone", func(m *image.Image) {
			m.Tasks, m.CPUs, m.Processes[0].Timers = append(m.Tasks[:1:1], m.Tasks[2]), append(m.CPUs[:1:1], m.CPUs[2]), nil
		}, inspect.Difference{PID: 100, TID: 101, What: "task", A: "worker"}},
		{"register", func(m *image.Image) { m.CPUs[2].State.Sets[0].Data[32*8]++ }, inspect.Difference{
			PID: 102, TID: 102, What: "register", Name: "NT_PRSTATUS nip", A: "02091017" + "1e252c33", B: "03091017" + "1e252c33",
		}},
		{"set gone", func(m *image.Image) { m.CPUs[2].State.Put(regset.PPC_TAR, []byte{1, 2, 3, 4, 5, 6, 7, 8}) }, inspect.Difference{
			PID: 102, TID: 102, What: "register", Name: "NT_PPC_TAR tar", B: "0102030405060708",
		}},
		{"mapping changed", func(m *image.Image) { m.MMs[1].VMAs[1].Prot = 7 }, inspect.Difference{
			PID: 102, What: "mapping", Name: "10010000", A: "to 10014000 rw-p 0 [heap]", B: "to 10014000 rwxp 0 [heap]",
		}},
		{"mapping new", func(m *image.Image) {
			m.MMs[1].VMAs = append(m.MMs[1].VMAs, image.VMA{Start: 0x90000000, End: 0x90001000, Prot: 3})
		}, inspect.Difference{PID: 102, What: "mapping", Name: "90000000", B: "to 90001000 rw-p 0 anonymous"}},
		{"descriptor moved", func(m *image.Image) {
			f := *m.Files[2]
			f.ID, f.Pos = 99, 13
			m.Files = append(m.Files, &f)
			m.Tables = append(m.Tables, &image.Files{ID: 2, FDs: append([]image.FD(nil), m.Tables[0].FDs...)})
			m.Tables[1].FDs[1].File = 99
			m.Processes[1].Files = 2
		}, inspect.Difference{PID: 102, What: "descriptor", Name: "1",
			A: "w file /tmp/out at 12 (close on exec)", B: "w file /tmp/out at 13 (close on exec)"}},
		{"vdso", func(m *image.Image) { m.MMs[1].VDSO = imagetest.Page(1) }, inspect.Difference{
			PID: 102, What: "memory", Name: "30000000-30001000 [vdso]", B: "1 of 1 pages differ: 30000000-30001000",
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := imagetest.Bytes(imagetest.Image(regset.PPC64))
			m := imagetest.Image(regset.PPC64)
			c.change(m)
			b := imagetest.Bytes(m)
			require.Equal(t, []inspect.Difference{c.want}, diff(t, a, b))
			back := c.want
			if back.What != "memory" {
				back.A, back.B = back.B, back.A
			}
			require.Equal(t, []inspect.Difference{back}, diff(t, b, a))
		})
	}
}

// pages is an image with pages of the first process only.
func pages(t *testing.T, m *image.Image, write func(*image.Writer)) []byte {
	var b bytes.Buffer
	w, err := image.NewWriter(&b, m)
	require.NoError(t, err)
	write(w)
	require.NoError(t, w.Close())
	return b.Bytes()
}

func TestDiffMemory(t *testing.T) {
	put := func(shm bool, addr uint64, contents ...byte) func(*image.Writer) {
		return func(w *image.Writer) {
			var data []byte
			for _, c := range contents {
				data = append(data, bytes.Repeat([]byte{c}, 4096)...)
			}
			if err := w.Pages(1, shm, []image.Run{{Addr: addr, Len: uint64(len(data))}}, data); err != nil {
				panic(err)
			}
		}
	}
	nothing := func(*image.Writer) {}
	const heap, text = imagetest.Heap, imagetest.Text
	for _, c := range []struct {
		name string
		a, b func(*image.Writer)
		want string
	}{
		{"equal", put(false, heap, 1, 2), put(false, heap, 1, 2), ""},
		{"one page", put(false, heap, 1, 2), put(false, heap, 1, 3), "10010000-10014000 [heap]|1 of 4 pages differ: 10011000-10012000"},
		{"two ranges", put(false, heap, 1, 2, 3, 4), put(false, heap, 9, 9, 3, 9), "10010000-10014000 [heap]|3 of 4 pages differ: 10010000-10012000, 10013000-10014000"},
		{"touched", nothing, put(false, heap+4096, 1), "10010000-10014000 [heap]|1 of 4 pages differ: 10011000-10012000"},
		{"touched but zero", nothing, put(false, heap+4096, 0), ""},
		{"between", put(false, heap, 1), put(false, heap+4096, 1), "10010000-10014000 [heap]|2 of 4 pages differ: 10010000-10012000"},
		{"written in a file mapping, to zero", nothing, put(false, text, 0), "10000000-10002000 /bin/job|1 of 2 pages differ: 10000000-10001000"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := imagetest.Image(regset.X86_64)
			m.Shares = nil
			a, b := pages(t, m, c.a), pages(t, m, c.b)
			for _, list := range [][]inspect.Difference{diff(t, a, b), diff(t, b, a)} {
				if c.want == "" {
					require.Empty(t, list)
					continue
				}
				require.Len(t, list, 1)
				require.Equal(t, c.want, list[0].Name+"|"+list[0].B)
			}
		})
	}
	// Both processes map the shared memory, one of them from its second page on.
	m := imagetest.Image(regset.X86_64)
	m.MMs[1].VMAs[2].Offset = 4096
	m.MMs[1].VMAs[2].End -= 4096
	list := diff(t, pages(t, m, put(true, 4096, 1)), pages(t, m, put(true, 4096, 2)))
	require.Len(t, list, 2)
	require.Equal(t, "1 of 4 pages differ: 20001000-20002000", list[0].B)
	require.Equal(t, "1 of 3 pages differ: 20000000-20001000", list[1].B)
}

func TestDiffManyRanges(t *testing.T) {
	m := imagetest.Image(regset.PPC)
	m.MMs[0].VMAs[5].End = imagetest.Stack + 40*4096
	list := diff(t, pages(t, m, func(*image.Writer) {}), pages(t, m, func(w *image.Writer) {
		for i := uint64(0); i < 20; i++ {
			run := []image.Run{{Addr: imagetest.Stack + i*8192, Len: 4096}}
			require.NoError(t, w.Pages(1, false, run, imagetest.Page(1)))
		}
	}))
	require.Len(t, list, 1)
	require.Contains(t, list[0].B, "20 of 40 pages differ: 7ffe0000-7ffe1000, 7ffe2000-")
	require.True(t, strings.HasSuffix(list[0].B, ", and 12 more ranges"), list[0].B)
}

func TestDiffText(t *testing.T) {
	m := imagetest.Image(regset.PPC)
	a := imagetest.Bytes(m)
	m.Processes[1].State = image.Stopped
	m.CPUs[1].State.Sets[0].Data[0]++
	m.MMs[0].VMAs[1].Prot = 1
	m.Files[2].Pos = 99
	m.Header.Release = "7.0\x1b"
	list := diff(t, a, imagetest.Bytes(m))
	var b strings.Builder
	require.NoError(t, inspect.WriteDiff(&b, list, inspect.Style{Width: 80}))
	golden(t, "diff.txt", b.String())
	require.NotContains(t, b.String(), "\x1b")
}

func TestDiffErrors(t *testing.T) {
	b := imagetest.Bytes(imagetest.Image(regset.PPC))
	_, err := inspect.Diff(bytes.NewReader(b), bytes.NewReader(b[:100]))
	require.ErrorIs(t, err, image.ErrTruncated)
	require.ErrorContains(t, err, "second image")
}
