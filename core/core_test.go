package core_test

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"cr/core"
	"cr/cpu"
	"cr/image"
	"cr/image/imagetest"
	"cr/regset"
)

// memFile is a file in memory.
type memFile struct{ data []byte }

func (f *memFile) WriteAt(b []byte, at int64) (int, error) {
	if need := int(at) + len(b); need > len(f.data) {
		f.data = append(f.data, make([]byte, need-len(f.data))...)
	}
	return copy(f.data[at:], b), nil
}

// write makes the core file of a process of a stream.
func write(t *testing.T, stream []byte, pid uint32) []byte {
	m, rd, err := image.Read(bytes.NewReader(stream))
	require.NoError(t, err)
	var f memFile
	require.NoError(t, core.Write(&f, m, rd, pid))
	return f.data
}

// note is one note of a core file.
type note struct {
	owner string
	kind  uint32
	data  []byte
}

func readNotes(t *testing.T, f *elf.File) []note {
	var list []note
	for _, p := range f.Progs {
		if p.Type != elf.PT_NOTE {
			continue
		}
		b, err := io.ReadAll(p.Open())
		require.NoError(t, err)
		pad := func(n uint32) uint32 { return (n + 3) &^ 3 }
		for len(b) > 0 {
			nameLen, size, kind := f.ByteOrder.Uint32(b), f.ByteOrder.Uint32(b[4:]), f.ByteOrder.Uint32(b[8:])
			b = b[12:]
			owner := strings.TrimRight(string(b[:nameLen]), "\x00")
			b = b[pad(nameLen):]
			list = append(list, note{owner, kind, b[:size]})
			b = b[pad(size):]
		}
	}
	return list
}

// peek reads memory of a core file; nil if the file has no contents for it.
func peek(t *testing.T, f *elf.File, addr uint64, n int) []byte {
	for _, p := range f.Progs {
		if p.Type == elf.PT_LOAD && addr >= p.Vaddr && addr+uint64(n) <= p.Vaddr+p.Filesz {
			b := make([]byte, n)
			_, err := p.ReadAt(b, int64(addr-p.Vaddr))
			require.NoError(t, err)
			return b
		}
	}
	return nil
}

// abiFacts are offsets in the kernel's structures, in bytes: what readers such
// as BFD (bfd/elf32-i386.c, elf64-ppc.c and their kin) look for.
var abiFacts = map[regset.ABI]struct {
	class             elf.Class
	status, pid, regs int // struct elf_prstatus: size, pr_pid, pr_reg
	info, ipid, fname int // struct elf_prpsinfo: size, pr_pid, pr_fname
}{
	regset.I386:    {elf.ELFCLASS32, 144, 24, 72, 124, 12, 28},
	regset.X86_64:  {elf.ELFCLASS64, 336, 32, 112, 136, 24, 40},
	regset.PPC:     {elf.ELFCLASS32, 268, 24, 72, 128, 16, 32},
	regset.PPC64:   {elf.ELFCLASS64, 504, 32, 112, 136, 24, 40},
	regset.PPC64LE: {elf.ELFCLASS64, 504, 32, 112, 136, 24, 40},
}

func TestWrite(t *testing.T) {
	for _, abi := range imagetest.ABIs {
		t.Run(abi.String(), func(t *testing.T) {
			m := imagetest.Image(abi)
			vmx := bytes.Repeat([]byte{5}, 544)
			m.CPUs[1].State.Put(regset.NoteDebugreg, bytes.Repeat([]byte{6}, 48))
			if abi.IsPPC() {
				m.CPUs[1].State.Put(regset.PPC_VMX, vmx)
			}
			f, err := elf.NewFile(bytes.NewReader(write(t, imagetest.Bytes(m), imagetest.Root)))
			require.NoError(t, err)
			facts, order := abiFacts[abi], abi.Order()
			require.Equal(t, elf.ET_CORE, f.Type)
			require.Equal(t, elf.Machine(abi.Machine), f.Machine)
			require.Equal(t, facts.class, f.Class)
			require.Equal(t, order, f.ByteOrder)

			var kinds []string
			byTask := map[uint32]map[uint32]note{}
			var task uint32
			for _, n := range readNotes(t, f) {
				kinds = append(kinds, fmt.Sprintf("%s %#x", n.owner, n.kind))
				if n.kind == uint32(regset.PRSTATUS) {
					require.Len(t, n.data, facts.status)
					task = order.Uint32(n.data[facts.pid:])
					byTask[task] = map[uint32]note{}
					require.EqualValues(t, []uint32{task, 1, imagetest.Root, imagetest.Root}, []uint32{
						order.Uint32(n.data[facts.pid:]), order.Uint32(n.data[facts.pid+4:]),
						order.Uint32(n.data[facts.pid+8:]), order.Uint32(n.data[facts.pid+12:]),
					})
					want := m.CPUOf(task).State.Find(regset.PRSTATUS)
					require.Equal(t, want, n.data[facts.regs:][:len(want)])
				}
				byTask[task][n.kind] = n
			}
			want := []string{"CORE 0x1", "CORE 0x3", "CORE 0x53494749", "CORE 0x6", "CORE 0x46494c45", "CORE 0x2", "CORE 0x1", "CORE 0x53494749", "CORE 0x2", "CR 0x43520001"}
			if abi.IsPPC() {
				want = append(want, "LINUX 0x100")
				require.Equal(t, vmx, byTask[imagetest.Thread][0x100].data)
			}
			require.Equal(t, want, kinds)
			for _, tid := range []uint32{imagetest.Root, imagetest.Thread} {
				require.Equal(t, m.CPUOf(tid).State.Find(regset.PRFPREG), byTask[tid][2].data)
			}
			// The first pending signal that is not blocked is the process's 10,
			// and the thread's 12.
			require.EqualValues(t, 10, order.Uint16(byTask[imagetest.Root][1].data[12:]))
			require.Equal(t, imagetest.Siginfo(abi, 12), byTask[imagetest.Thread][0x53494749].data)

			info := byTask[imagetest.Root][3].data
			require.Len(t, info, facts.info)
			require.EqualValues(t, imagetest.Root, order.Uint32(info[facts.ipid:]))
			require.Equal(t, "job-100\x00", string(info[facts.fname:][:8]))
			require.Equal(t, m.MMs[0].Auxv, byTask[imagetest.Root][6].data)
			checkFiles(t, abi, byTask[imagetest.Root][0x46494c45].data)

			require.Equal(t, imagetest.Page(0), peek(t, f, imagetest.Heap, 4096))
			require.Equal(t, imagetest.Page(1), peek(t, f, imagetest.Heap+4096, 4096))
			require.Equal(t, make([]byte, 4096), peek(t, f, imagetest.Heap+8192, 4096), "never touched")
			require.Equal(t, imagetest.Page(2), peek(t, f, imagetest.Stack+4096, 4096))
			require.Equal(t, imagetest.Page(99), peek(t, f, imagetest.Shm+4096, 4096))
			require.Equal(t, imagetest.Page(77), peek(t, f, imagetest.Vdso, 4096))
			require.Nil(t, peek(t, f, imagetest.Text, 1), "it is in the program")
			checkSegments(t, f, m.MMs[0])
		})
	}
}

// checkFiles reads an NT_FILE note.
func checkFiles(t *testing.T, abi regset.ABI, b []byte) {
	word := func() (v uint64) {
		if abi.WordSize() == 8 {
			v = abi.Order().Uint64(b)
		} else {
			v = uint64(abi.Order().Uint32(b))
		}
		b = b[abi.WordSize():]
		return v
	}
	got := []uint64{word(), word(), word(), word(), word()}
	require.Equal(t, []uint64{1, 4096, imagetest.Text, imagetest.Text + 0x2000, 0}, got)
	require.Equal(t, "/bin/job\x00", string(b))
}

// checkSegments checks that the segments cover the mappings.
func checkSegments(t *testing.T, f *elf.File, mm *image.MM) {
	at := 0
	for _, p := range f.Progs {
		if p.Type != elf.PT_LOAD {
			continue
		}
		v := mm.VMAs[at]
		require.Equal(t, v.Start, p.Vaddr)
		require.Equal(t, v.End-v.Start, p.Memsz)
		require.Zero(t, p.Off%imagetest.PageSize, "a segment must lie in the file as it does in memory")
		at++
	}
	require.Equal(t, len(mm.VMAs), at)
}

func TestOtherProcess(t *testing.T) {
	m := imagetest.Image(regset.PPC64LE)
	f, err := elf.NewFile(bytes.NewReader(write(t, imagetest.Bytes(m), imagetest.Child)))
	require.NoError(t, err)
	require.Equal(t, imagetest.Page(10), peek(t, f, imagetest.Heap, 4096))
}

// TestSharedPages has pages that are in the image as another process's, before
// its own: in a mapping that is in the file as a whole, and in one that is not.
func TestSharedPages(t *testing.T) {
	f, err := elf.NewFile(bytes.NewReader(write(t, imagetest.Shared(regset.X86_64), imagetest.Child)))
	require.NoError(t, err)
	require.Equal(t, imagetest.Page(9), peek(t, f, imagetest.Text, 4096))
	for i, seed := range []byte{0, 11, 2, 3} {
		require.Equal(t, imagetest.Page(seed), peek(t, f, imagetest.Heap+uint64(i)*4096, 4096))
	}
}

// stream writes an image with pieces of the first MM's memory.
func stream(t *testing.T, m *image.Image, pieces ...image.Run) []byte {
	var b bytes.Buffer
	w, err := image.NewWriter(&b, m)
	require.NoError(t, err)
	for i, r := range pieces {
		require.NoError(t, w.Pages(m.MMs[0].ID, false, []image.Run{r}, bytes.Repeat([]byte{byte(i + 1)}, int(r.Len))))
	}
	require.NoError(t, w.Close())
	return b.Bytes()
}

// TestPrivateFile has a private file mapping of which the image has two pieces.
func TestPrivateFile(t *testing.T) {
	m := imagetest.Image(regset.X86_64)
	m.MMs[0].VMAs[0].End = imagetest.Text + 0x6000
	in := stream(t, m, image.Run{Addr: imagetest.Text + 0x1000, Len: 4096}, image.Run{Addr: imagetest.Text + 0x2000, Len: 4096},
		image.Run{Addr: imagetest.Text + 0x4000, Len: 4096})
	f, err := elf.NewFile(bytes.NewReader(write(t, in, imagetest.Root)))
	require.NoError(t, err)
	var got [][3]uint64
	for _, p := range f.Progs {
		if p.Type == elf.PT_LOAD && p.Vaddr < imagetest.Text+0x6000 {
			got = append(got, [3]uint64{p.Vaddr - imagetest.Text, p.Memsz, p.Filesz})
		}
	}
	require.Equal(t, [][3]uint64{{0, 0x1000, 0}, {0x1000, 0x2000, 0x2000}, {0x3000, 0x1000, 0}, {0x4000, 0x1000, 0x1000}, {0x5000, 0x1000, 0}}, got)
	require.Equal(t, byte(1), peek(t, f, imagetest.Text+0x1fff, 1)[0])
	require.Equal(t, byte(2), peek(t, f, imagetest.Text+0x2000, 1)[0])
	require.Equal(t, byte(3), peek(t, f, imagetest.Text+0x4000, 1)[0])
}

func TestCommandLine(t *testing.T) {
	m := imagetest.Image(regset.PPC)
	m.MMs[0].ArgStart, m.MMs[0].ArgEnd = imagetest.Stack+4096-4, imagetest.Stack+4096+4
	var b bytes.Buffer
	w, err := image.NewWriter(&b, m)
	require.NoError(t, err)
	page := make([]byte, 2*4096)
	copy(page[4096-4:], "job\x00-x1\x00")
	for i := 0; i < 2; i++ { // the command line is cut in two
		run := []image.Run{{Addr: imagetest.Stack + uint64(4096*i), Len: 4096}}
		require.NoError(t, w.Pages(1, false, run, page[4096*i:][:4096]))
	}
	require.NoError(t, w.Close())
	f, err := elf.NewFile(bytes.NewReader(write(t, b.Bytes(), imagetest.Root)))
	require.NoError(t, err)
	for _, n := range readNotes(t, f) {
		if n.kind == 3 {
			require.Equal(t, "job -x1", strings.TrimRight(string(n.data[48:]), "\x00"))
			return
		}
	}
	require.Fail(t, "no NT_PRPSINFO")
}

// TestManySegments has more segments than the ELF header can count.
func TestManySegments(t *testing.T) {
	m := imagetest.Image(regset.X86_64)
	for i := uint64(0); i < 70000; i++ {
		at := 0x100000000 + i*8192
		m.MMs[0].VMAs = append(m.MMs[0].VMAs, image.VMA{Start: at, End: at + 4096, Kind: image.FileVMA, File: 1})
	}
	b := write(t, stream(t, m), imagetest.Root)
	le := binary.LittleEndian
	require.EqualValues(t, 0xffff, le.Uint16(b[56:]), "e_phnum")
	section := b[le.Uint64(b[40:]):]
	require.Len(t, section, 64)
	require.EqualValues(t, 70000+6+1, le.Uint32(section[44:]), "sh_info")
}

func TestRefused(t *testing.T) {
	for _, c := range []struct {
		pid    uint32
		change func(*image.Image)
		want   string
	}{
		{5, func(*image.Image) {}, "there is no process 5"},
		{imagetest.Dead, func(*image.Image) {}, "process 103 is a zombie"},
		{imagetest.Root, func(m *image.Image) { m.CPUs[1].State.ABI = regset.I386 }, "task 101 is of i386"},
		{imagetest.Root, func(m *image.Image) { m.CPUs[0].State.Put(regset.PRSTATUS, []byte{1}) }, "task 100: 1 bytes of general registers"},
	} {
		m := imagetest.Image(regset.X86_64)
		c.change(m)
		m, rd, err := image.Read(bytes.NewReader(imagetest.Bytes(m)))
		require.NoError(t, err)
		require.ErrorContains(t, core.Write(&memFile{}, m, rd, c.pid), c.want)
	}
	full := errors.New("full")
	m, rd, err := image.Read(bytes.NewReader(imagetest.Bytes(imagetest.Image(regset.PPC))))
	require.NoError(t, err)
	require.ErrorIs(t, core.Write(failing{full}, m, rd, imagetest.Root), full)
	b := imagetest.Bytes(imagetest.Image(regset.PPC))
	m, rd, err = image.Read(bytes.NewReader(b[:len(b)-1]))
	require.NoError(t, err)
	require.ErrorIs(t, core.Write(&memFile{}, m, rd, imagetest.Root), image.ErrTruncated)
}

type failing struct{ err error }

func (f failing) WriteAt([]byte, int64) (int, error) { return 0, f.err }

// tool finds a program of binutils or gdb.
func tool(t *testing.T, names ...string) string {
	for _, n := range names {
		if path, err := exec.LookPath(n); err == nil {
			return path
		}
	}
	t.Skipf("none of %v is installed", names)
	return ""
}

func coreFile(t *testing.T, abi regset.ABI) string {
	file := filepath.Join(t.TempDir(), "core")
	require.NoError(t, os.WriteFile(file, write(t, imagetest.Bytes(imagetest.Image(abi)), imagetest.Root), 0o600))
	return file
}

func TestReadelf(t *testing.T) {
	readelf := tool(t, "readelf")
	for _, abi := range imagetest.ABIs {
		out, err := exec.Command(readelf, "-W", "-h", "-l", "-n", coreFile(t, abi)).CombinedOutput()
		require.NoError(t, err)
		text := string(out)
		require.NotContains(t, text, "Warning")
		require.NotContains(t, text, "Error")
		for _, want := range []string{
			"CORE (Core file)", "NT_PRSTATUS (prstatus structure)", "NT_FPREGSET", "NT_PRPSINFO", "NT_SIGINFO", "NT_AUXV", "NT_FILE",
		} {
			require.Contains(t, text, want, abi)
		}
	}
}

// TestGDB asks gdb what it sees, in every ABI: both threads, the program counter
// of each, memory and the signal.
func TestGDB(t *testing.T) {
	gdb := tool(t, "gdb-multiarch")
	for _, abi := range imagetest.ABIs {
		t.Run(abi.String(), func(t *testing.T) {
			out, err := exec.Command(gdb, "-nx", "-batch", "-iex", "set auto-load no", "-c", coreFile(t, abi),
				"-ex", "info threads", "-ex", `printf "heap %#x\n", *(unsigned char *)`+fmt.Sprint(imagetest.Heap+3),
				"-ex", `printf "zero %#x\n", *(unsigned char *)`+fmt.Sprint(imagetest.Heap+0x3000),
				"-ex", `thread find 100`, "-ex", `thread find 101`,
				"-ex", "thread 1", "-ex", `printf "pc1 %#lx\n", $pc`, "-ex", `printf "sig %d\n", $_siginfo.si_signo`,
				"-ex", "thread 2", "-ex", `printf "pc2 %#lx\n", $pc`, "-ex", "info auxv", "-ex", "info proc mappings").CombinedOutput()
			require.NoError(t, err, string(out))
			text := string(out)
			m := imagetest.Image(abi)
			for _, want := range []string{
				"heap 0x15\n", "zero 0\n", "sig 10\n", "LWP 100", "LWP 101",
				fmt.Sprintf("pc1 %#x\n", pcOf(&m.CPUs[0].State)), fmt.Sprintf("pc2 %#x\n", pcOf(&m.CPUs[1].State)),
				"/bin/job", "AT_PAGESZ            System page size               4096",
			} {
				require.Contains(t, text, want)
			}
		})
	}
}

// pcOf reads the program counter where user_regs_struct and struct pt_regs have
// it.
func pcOf(s *regset.State) uint64 {
	b, abi := s.Find(regset.PRSTATUS), s.ABI
	if abi.WordSize() == 8 {
		return abi.Order().Uint64(b[map[bool]int{true: 32, false: 16}[abi.IsPPC()]*8:])
	}
	return uint64(abi.Order().Uint32(b[map[bool]int{true: 32, false: 12}[abi.IsPPC()]*4:]))
}

// TestGDBVectors asks gdb for a vector register.
func TestGDBVectors(t *testing.T) {
	gdb := tool(t, "gdb-multiarch")
	for _, abi := range imagetest.ABIs {
		t.Run(abi.String(), func(t *testing.T) {
			m := imagetest.Image(abi)
			note, size, at, reg := regset.PPC_VMX, 544, 3*16, "$vr3"
			switch abi {
			case regset.X86_64:
				note, size, at, reg = regset.PRFPREG, 512, 160+3*16, "$xmm3"
			case regset.I386:
				note, size, at, reg = regset.PRXFPREG, 512, 160+3*16, "$xmm3"
			}
			data := make([]byte, size)
			for i := range data {
				data[i] = byte(i*5 + 1)
			}
			m.CPUs[0].State.Put(note, data)
			file := filepath.Join(t.TempDir(), "core")
			require.NoError(t, os.WriteFile(file, write(t, imagetest.Bytes(m), imagetest.Root), 0o600))
			out, err := exec.Command(gdb, "-nx", "-batch", "-c", file, "-ex", "p/x "+reg+".uint128").CombinedOutput()
			require.NoError(t, err, string(out))
			value := append([]byte(nil), data[at:at+16]...)
			if !abi.BigEndian {
				for i := 0; i < 8; i++ {
					value[i], value[15-i] = value[15-i], value[i]
				}
			}
			require.Contains(t, string(out), fmt.Sprintf("= 0x%x\n", value))
		})
	}
}

// gdbName is what gdb calls a register, "" for those that it shows in another
// way.
func gdbName(abi regset.ABI, name string) string {
	switch name {
	case "nip":
		return "pc"
	case "link":
		return "lr"
	case "ccr":
		return "cr"
	case "r0", "ctr", "xer", "msr", "fpscr", "tar", "ppr", "dscr", "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp", "rip",
		"eax", "ebx", "ecx", "edx", "esi", "edi", "ebp", "esp", "eip", "cs", "ss", "ds", "es", "fs", "gs", "fs_base", "gs_base":
		return name
	}
	if len(name) > 1 && strings.Trim(name[1:], "0123456789") == "" && (name[0] == 'r' || abi.IsPPC() && name[0] == 'f') {
		return name
	}
	return ""
}

// TestGDBRegisters compares every register that gdb shows as a number with what
// the image has: all sets of the 64-bit powerpcs that are made of such.
func TestGDBRegisters(t *testing.T) {
	gdb := tool(t, "gdb-multiarch")
	sizes := map[regset.Note]int{regset.PRFPREG: 264, regset.PPC_TAR: 8, regset.PPC_PPR: 8, regset.PPC_DSCR: 8, regset.PPC_EBB: 24, regset.PPC_PMU: 40, regset.PPC_VSX: 256}
	for _, abi := range imagetest.ABIs {
		t.Run(abi.String(), func(t *testing.T) {
			m := imagetest.Image(abi)
			state := &m.CPUs[0].State
			for note, size := range sizes {
				if !abi.IsPPC() || abi.WordSize() == 4 && note != regset.PRFPREG {
					continue
				}
				data := make([]byte, size)
				for i := range data {
					data[i] = byte(i*7 + int(note) + 1)
				}
				state.Put(note, data)
			}
			if abi.IsPPC() && abi.WordSize() == 8 {
				// gdb believes that there is a TAR if AT_HWCAP2 has ARCH_2_07, TAR and EBB.
				entry := make([]byte, 16)
				abi.Order().PutUint64(entry, 26)
				abi.Order().PutUint64(entry[8:], 0x94000000)
				m.MMs[0].Auxv = append(entry, m.MMs[0].Auxv...)
			}
			want := map[string]string{}
			args := []string{"-nx", "-batch"}
			file := filepath.Join(t.TempDir(), "core")
			args = append(args, "-c", file)
			for _, d := range cpu.For(abi).Table(abi) {
				data := state.Find(d.Note)
				if data == nil {
					continue
				}
				for _, r := range d.Regs(abi, data) {
					name := gdbName(abi, r.Name)
					if name == "" {
						continue
					}
					value := r.Value
					switch name {
					case "cs", "ss", "ds", "es", "fs", "gs", "cr", "xer":
						value = value[len(value)-4:] // gdb shows 32 bits
					case "fpscr":
						value = value[8-abi.WordSize():]
					}
					want[name] = strings.TrimLeft(fmt.Sprintf("%x", value), "0")
					args = append(args, "-ex", "info registers "+name)
				}
			}
			require.Greater(t, len(want), 8)
			require.NoError(t, os.WriteFile(file, write(t, imagetest.Bytes(m), imagetest.Root), 0o600))
			out, err := exec.Command(gdb, args...).CombinedOutput()
			require.NoError(t, err, "%s", out)
			for name, value := range want {
				line := regexp.MustCompile(`(?m)^` + name + `\s.*$`).FindString(string(out))
				require.Regexp(t, `0x0*`+value+`\b`, line, "%s\n%s", name, out)
			}
		})
	}
}

// TestGDBAMD asks gdb for AVX-512 registers of an image from a processor of AMD's,
// which has them at other places than gdb looks for them.
func TestGDBAMD(t *testing.T) {
	gdb := tool(t, "gdb-multiarch")
	m := imagetest.Image(regset.X86_64)
	const xcr0, xcr0At, bvAt, ymmAt, zmmAt, size = 0xe7, 464, 512, 576, 896, 2432
	data := make([]byte, size)
	binary.LittleEndian.PutUint64(data[xcr0At:], xcr0)
	binary.LittleEndian.PutUint64(data[bvAt:], xcr0)
	binary.LittleEndian.PutUint64(data[160+3*16:], 0x1111)
	binary.LittleEndian.PutUint64(data[ymmAt+3*16:], 0x3333)
	binary.LittleEndian.PutUint64(data[zmmAt+3*32:], 0x5555)
	m.CPUs[0].State.Put(regset.X86_XSTATE, data)
	file := filepath.Join(t.TempDir(), "core")
	require.NoError(t, os.WriteFile(file, write(t, imagetest.Bytes(m), imagetest.Root), 0o600))
	out, err := exec.Command(gdb, "-nx", "-batch", "-c", file, "-ex", "p/x $zmm3.v8_int64").CombinedOutput()
	require.NoError(t, err, string(out))
	require.Contains(t, string(out), "= {0x1111, 0x0, 0x3333, 0x0, 0x5555, 0x0, 0x0, 0x0}\n")
	require.NotContains(t, string(out), "too small")
}
