package inspect_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"cr/image"
	"cr/image/imagetest"
	"cr/inspect"
	"cr/regset"
)

var update = flag.Bool("update", false, "rewrite the golden files in testdata")

// golden compares text with a file in testdata.
func golden(t *testing.T, name, got string) {
	file := "testdata/" + name
	if *update {
		require.NoError(t, os.MkdirAll("testdata", 0o755))
		require.NoError(t, os.WriteFile(file, []byte(got), 0o644))
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err, "go test -update makes it")
	require.Equal(t, string(want), got)
}

func text(t *testing.T, abi regset.ABI, o inspect.Options, s inspect.Style) string {
	r, err := inspect.Read(bytes.NewReader(imagetest.Bytes(imagetest.Image(abi))), o)
	require.NoError(t, err)
	var b strings.Builder
	require.NoError(t, r.Text(&b, s))
	return b.String()
}

func TestText(t *testing.T) {
	golden(t, "summary.txt", text(t, regset.PPC64, inspect.Options{}, inspect.Style{}))
	golden(t, "maps.txt", text(t, regset.X86_64, inspect.Options{Maps: true, PID: imagetest.Child}, inspect.Style{}))
	golden(t, "regs.txt", text(t, regset.PPC, inspect.Options{Regs: true, PID: imagetest.Child}, inspect.Style{Width: 100}))
	require.NotContains(t, text(t, regset.PPC, inspect.Options{}, inspect.Style{}), "\x1b")
	require.Contains(t, text(t, regset.PPC, inspect.Options{}, inspect.Style{Colour: true}), "\x1b[1mimage 7\x1b[0m")
}

func TestJSON(t *testing.T) {
	r, err := inspect.Read(bytes.NewReader(imagetest.Bytes(imagetest.Image(regset.I386))), inspect.Options{Regs: true, Maps: true})
	require.NoError(t, err)
	b, err := json.MarshalIndent(r, "", "  ")
	require.NoError(t, err)
	golden(t, "info.json", string(b)+"\n")
}

// TestRegisters looks for a value where it must be in every ABI.
func TestRegisters(t *testing.T) {
	for abi, reg := range map[regset.ABI]string{
		regset.I386: "eip", regset.X86_64: "rip", regset.PPC: "nip", regset.PPC64: "nip", regset.PPC64LE: "nip",
	} {
		m := imagetest.Image(abi)
		r, err := inspect.Read(bytes.NewReader(imagetest.Bytes(m)), inspect.Options{Regs: true})
		require.NoError(t, err)
		task := r.Processes[0].Tasks[0]
		require.Equal(t, "NT_PRSTATUS", task.Sets[0].Name, abi)
		found := ""
		for _, x := range task.Sets[0].Regs {
			if x.Name == reg {
				found = x.Value
			}
		}
		require.NotEmpty(t, found, "%v: %s in %v", abi, reg, task.Sets[0].Regs)
		require.Equal(t, task.PC, "0x"+strings.TrimLeft(found, "0"), abi)
	}
}

func TestHexdump(t *testing.T) {
	const page = imagetest.PageSize
	for _, c := range []struct {
		name       string
		addr, size uint64
		want       string
	}{
		{"heap", imagetest.Heap, 16, "" +
			"0000000010010000  00 07 0e 15 1c 23 2a 31  38 3f 46 4d 54 5b 62 69  |.....#*18?FMT[bi|\n"},
		{"not aligned", imagetest.Heap + 5, 4, "" +
			"0000000010010000                 23 2a 31  38                       |     #*18       |\n"},
		{"between two pages", imagetest.Heap + page - 2, 4, "" +
			"0000000010010ff0                                             f2 f9  |              ..|\n" +
			"0000000010011000  01 08                                             |..              |\n"},
		{"never touched", imagetest.Heap + 2*page, 64, "" +
			"0000000010012000  00 00 00 00 00 00 00 00  00 00 00 00 00 00 00 00  |................|\n*\n" +
			"0000000010012030  00 00 00 00 00 00 00 00  00 00 00 00 00 00 00 00  |................|\n"},
		{"end of a mapping", imagetest.Heap + 4*page - 4, 8, "" +
			"0000000010013ff0                                       00 00 00 00  |            ....|\n"},
		{"file that is not in the image", imagetest.Text, 8, "" +
			"0000000010000000  .. .. .. .. .. .. .. ..                           |                |\n"},
		{"shared memory", imagetest.Shm + page, 4, "" +
			"0000000020001000  63 6a 71 78                                       |cjqx            |\n"},
		{"vdso", imagetest.Vdso, 4, "" +
			"0000000030000000  4d 54 5b 62                                       |MT[b            |\n"},
		{"nothing there", 0x50000000, 64, "nothing is mapped there\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := text(t, regset.X86_64, inspect.Options{HexAddr: c.addr, HexLen: c.size}, inspect.Style{})
			lines := strings.Split(c.want, "\n")
			require.Equal(t, lines, strings.Split(got, "\n"))
		})
	}
	child := text(t, regset.X86_64, inspect.Options{HexAddr: imagetest.Heap, HexLen: 2, PID: imagetest.Child}, inspect.Style{})
	require.Contains(t, child, "10010000  0a 11", "memory of another process")
}

func TestErrors(t *testing.T) {
	b := imagetest.Bytes(imagetest.Image(regset.PPC))
	for _, c := range []struct {
		in   []byte
		o    inspect.Options
		want string
	}{
		{b, inspect.Options{PID: 5}, "there is no process 5"},
		{b, inspect.Options{PID: imagetest.Dead, HexLen: 1}, "process 103 is a zombie"},
		{b, inspect.Options{HexLen: 1 << 40}, "too many"},
		{b, inspect.Options{HexAddr: ^uint64(0), HexLen: 2}, "too many"},
		{b[:len(b)-1], inspect.Options{}, "cut short"},
		{nil, inspect.Options{}, "not a checkpoint image"},
	} {
		_, err := inspect.Read(bytes.NewReader(c.in), c.o)
		require.ErrorContains(t, err, c.want)
	}
}

// TestHostileText has an image whose strings would take over a terminal.
func TestHostileText(t *testing.T) {
	m := imagetest.Image(regset.X86_64)
	const evil = "\x1b]0;x\a\x9b31m\n\r"
	m.Header.Hostname, m.Header.Release, m.Header.Creator = evil, evil, evil
	m.Files[2].Path = "/" + evil
	m.MMs[0].VMAs[1].Name = evil
	m.Tasks[1].Comm = evil
	m.Processes[1].Comm = evil
	m.Shms[1].Name = evil
	r, err := inspect.Read(bytes.NewReader(imagetest.Bytes(m)), inspect.Options{Regs: true, Maps: true})
	require.NoError(t, err)
	var b strings.Builder
	require.NoError(t, r.Text(&b, inspect.Style{}))
	require.Contains(t, b.String(), `\x1b]0;x\a`)
	for _, c := range b.String() {
		require.True(t, c == '\n' || c >= ' ' && c != 0x7f && c != 0x9b, "%q", c)
	}
}

// TestDeepTree has a chain of processes deeper than a stack is.
func TestDeepTree(t *testing.T) {
	m := imagetest.Image(regset.PPC64)
	parent := uint32(imagetest.Root)
	for i := uint32(0); i < 2000; i++ {
		p, s, c := *m.Processes[1], *m.Tasks[2], *m.CPUs[2]
		p.PID, p.PPID = 1000+i, parent
		s.TID, s.PID, c.TID = p.PID, p.PID, p.PID
		m.Processes, m.Tasks, m.CPUs = append(m.Processes, &p), append(m.Tasks, &s), append(m.CPUs, &c)
		parent = p.PID
	}
	r, err := inspect.Read(bytes.NewReader(imagetest.Bytes(m)), inspect.Options{})
	require.NoError(t, err)
	var b strings.Builder
	require.NoError(t, r.Text(&b, inspect.Style{}))
	require.Contains(t, b.String(), strings.Repeat("   ", 1999)+"└─ 2999 job-102")
	require.Len(t, r.Processes, 2003)
}

// TestSharedPages has pages that are in the image as another process's.
func TestSharedPages(t *testing.T) {
	in := imagetest.Shared(regset.X86_64)
	r, err := inspect.Read(bytes.NewReader(in), inspect.Options{PID: imagetest.Child, Maps: true, Places: true})
	require.NoError(t, err)
	require.Equal(t, uint64(6*4096), r.Image.Saved)
	require.Len(t, r.Processes, 1)
	require.Equal(t, uint64(4*4096), r.Processes[0].Shared)
	require.Equal(t, uint64(4096), r.Processes[0].Maps[0].Saved)
	require.Equal(t, uint64(4*4096), r.Processes[0].Maps[1].Saved)
	var b strings.Builder
	require.NoError(t, r.Text(&b, inspect.Style{}))
	require.Contains(t, b.String(), "16 KiB of it are in the image once")
	r, err = inspect.Read(bytes.NewReader(in), inspect.Options{PID: imagetest.Child, HexAddr: imagetest.Heap + 4096, HexLen: 8192})
	require.NoError(t, err)
	b.Reset()
	require.NoError(t, r.Text(&b, inspect.Style{}))
	for i, seed := range []byte{11, 2} {
		line := fmt.Sprintf("%016x  % x  % x  |", imagetest.Heap+4096+4096*i, imagetest.Page(seed)[:8], imagetest.Page(seed)[8:16])
		require.True(t, strings.Contains(b.String(), line), line)
	}
}

// TestDiffShared compares an image with one in which each process has all pages
// for itself.
func TestDiffShared(t *testing.T) {
	in := imagetest.Shared(regset.X86_64)
	m, rd, err := image.Read(bytes.NewReader(in))
	require.NoError(t, err)
	pages := map[uint32]map[uint64][]byte{1: {}, 2: {}}
	require.NoError(t, rd.Each(func(p *image.Pages) error {
		data := p.Data
		for _, r := range p.Runs {
			for n := uint64(0); n < r.Len; n += 4096 {
				pages[p.Owner][r.Addr+n], data = append([]byte(nil), data[:4096]...), data[4096:]
			}
		}
		return nil
	}))
	m.Shares = nil
	var b bytes.Buffer
	w, err := image.NewWriter(&b, m)
	require.NoError(t, err)
	for _, mm := range m.MMs {
		for _, addr := range []uint64{imagetest.Text, imagetest.Heap, imagetest.Heap + 4096, imagetest.Heap + 8192, imagetest.Heap + 12288} {
			require.NoError(t, w.Pages(mm.ID, false, []image.Run{{Addr: addr, Len: 4096}}, pages[mm.ID][addr]))
		}
	}
	require.NoError(t, w.Close())
	require.Empty(t, diff(t, in, b.Bytes()))
	require.NotEmpty(t, diff(t, imagetest.Bytes(m), b.Bytes()))
}

func TestBytes(t *testing.T) {
	for n, want := range map[uint64]string{
		0: "0 B", 1023: "1023 B", 1024: "1 KiB", 1536: "1.5 KiB", 1 << 20: "1 MiB", 123 << 20: "123 MiB",
		5<<30 + 1<<29: "5.5 GiB", 1 << 56: "64 PiB", ^uint64(0): "16 EiB",
	} {
		require.Equal(t, want, inspect.Bytes(n), fmt.Sprint(n))
	}
}

// FuzzRead shows images whose metadata is valid and whose registers are not.
func FuzzRead(f *testing.F) {
	for i := range imagetest.ABIs {
		f.Add(uint8(i), uint32(regset.PRSTATUS), []byte("registers"), uint64(imagetest.Heap), uint32(20))
		f.Add(uint8(i), uint32(regset.X86_XSTATE), make([]byte, 600), uint64(1), uint32(20))
	}
	f.Fuzz(func(t *testing.T, abi uint8, note uint32, data []byte, addr uint64, length uint32) {
		m := imagetest.Image(imagetest.ABIs[int(abi)%len(imagetest.ABIs)])
		m.CPUs[0].State.Put(regset.Note(note), data)
		b := imagetest.Bytes(m)
		for _, o := range []inspect.Options{{Regs: true, Maps: true}, {HexAddr: addr, HexLen: uint64(length % 5000)}} {
			r, err := inspect.Read(bytes.NewReader(b), o)
			if err != nil {
				require.ErrorContains(t, err, "too many")
				continue
			}
			require.NoError(t, r.Text(&strings.Builder{}, inspect.Style{}))
		}
	})
}
