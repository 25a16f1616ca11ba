package vmtests

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"cr/core"
	"cr/image"
	"cr/regset"
	cases "cr/selftest"
)

// coreClasses are the classes of registers that debuggers know.
const coreClasses = "gpr|fpr|vmx|vsx|tar|dscr|ppr|spe|x87|sse|avx|avx512|pkru|base"

// TestCore makes core files of images that come from guests, and reads them on
// this host with gdb and readelf: every register of the selftest's programs, and
// threads, backtraces and memory of one in C.
func TestCore(t *testing.T) {
	gdb, err := exec.LookPath("gdb-multiarch")
	if err != nil {
		t.Skipf("%v: run scripts/setup test", err)
	}
	t.Parallel()
	for _, test := range []struct {
		guest string
		abis  []regset.ABI
		has   string // classes that must not be skipped
	}{
		{"ppc32-7447", []regset.ABI{regset.PPC}, "gpr fpr vmx"},
		{"e500v2", []regset.ABI{regset.PPC}, "gpr spe"},
		{"ppc64-power8", []regset.ABI{regset.PPC64, regset.PPC}, "gpr fpr vmx vsx tar dscr ppr"},
		{"ppc64le-power9", []regset.ABI{regset.PPC64LE}, "gpr fpr vmx vsx tar dscr ppr"},
		{"i386-max", []regset.ABI{regset.I386}, "gpr x87 sse avx"},
		{"x86_64-max", []regset.ABI{regset.X86_64, regset.I386}, "gpr x87 sse avx"},
	} {
		t.Run(test.guest, func(t *testing.T) {
			t.Parallel()
			m := guests.get(t, test.guest)
			saved, dir := m.save(t)
			for _, abi := range test.abis {
				for _, class := range strings.Split(coreClasses, "|") {
					result, there := saved[class+"-"+abi.String()+"/external"]
					if !there {
						continue // there is no such class with this ABI
					}
					t.Run(abi.String()+"/"+class, func(t *testing.T) {
						if result.Directive == "SKIP" {
							require.NotContains(t, strings.Fields(test.has), class)
							t.Skip(result.Reason)
						}
						require.True(t, result.OK, "%v", result.Diagnostics)
						readRegisters(t, gdb, filepath.Join(m.dir, dir), abi, class)
					})
				}
				t.Run(abi.String()+"/threads", func(t *testing.T) { readThreads(t, gdb, m, abi) })
			}
		})
	}
}

// makeCore makes the core file of the root process of an image.
func makeCore(t *testing.T, file string) (path string, m *image.Image) {
	t.Helper()
	in, err := os.Open(file)
	require.NoError(t, err)
	defer in.Close()
	m, rd, err := image.Read(in)
	require.NoError(t, err)
	path = file + ".core"
	out, err := os.Create(path)
	require.NoError(t, err)
	defer out.Close()
	require.NoError(t, core.Write(out, m, rd, m.Header.Root))
	return path, m
}

// debug runs commands of gdb on a program and its core file.
func debug(t *testing.T, gdb, program, core string, commands []string) string {
	t.Helper()
	script := filepath.Join(t.TempDir(), "commands")
	require.NoError(t, os.WriteFile(script, []byte(strings.Join(commands, "\n")+"\n"), 0o644))
	c := exec.Command(gdb, "-nx", "-batch", "-iex", "set debuginfod enabled off", "-iex", "set width 0", "-iex", "set height 0",
		"-iex", "set auto-load off", program, core, "-x", script)
	c.Env = append(os.Environ(), "LC_ALL=C")
	out, err := c.CombinedOutput()
	require.NoError(t, err, "%s", out)
	return string(out)
}

// noteLine is how readelf shows a note, by name or by number.
var noteLine = regexp.MustCompile(`^  (?:CORE|LINUX) +0x[0-9a-f]+\s+(?:Unknown note type: \()?(NT_\w+|0x\w+)`)

// readNotes checks the notes with readelf, which names those that it knows, and
// returns the contents that it shows of those that it does not take apart.
func readNotes(t *testing.T, core string) map[string][][]byte {
	t.Helper()
	c := exec.Command("readelf", "-nW", core)
	c.Env = append(os.Environ(), "LC_ALL=C")
	var said bytes.Buffer
	c.Stderr = &said
	out, err := c.Output()
	require.NoError(t, err, "%s", &said)
	require.Empty(t, said.String())
	notes := make(map[string][][]byte)
	for _, line := range strings.Split(string(out), "\n") {
		f := noteLine.FindStringSubmatch(line)
		if f == nil {
			continue
		}
		_, digits, _ := strings.Cut(line, "description data:")
		b, err := hex.DecodeString(strings.ReplaceAll(digits, " ", ""))
		require.NoError(t, err)
		notes[f[1]] = append(notes[f[1]], b)
	}
	return notes
}

// notesOf are the notes, as readelf calls them, that hold the registers of a class.
var notesOf = map[string][]string{
	"fpr": {"NT_FPREGSET"}, "vmx": {"NT_PPC_VMX"}, "vsx": {"NT_PPC_VMX", "NT_PPC_VSX"}, "tar": {"NT_PPC_TAR"}, "dscr": {"NT_PPC_DSCR"}, "ppr": {"NT_PPC_PPR"},
	"x87": {"NT_FPREGSET", "NT_X86_XSTATE"}, "avx": {"NT_X86_XSTATE"}, "avx512": {"NT_X86_XSTATE"}, "pkru": {"NT_X86_XSTATE"},
}

// readRegisters compares what gdb finds in the core file of a spinning program
// with what the program has loaded.
func readRegisters(t *testing.T, gdb, dir string, abi regset.ABI, class string) {
	program := filepath.Join(dir, abi.String(), class)
	core, m := makeCore(t, filepath.Join(dir, abi.String(), class+".external", "image"))
	held, err := cases.Loaded(dir, abi, class)
	require.NoError(t, err)
	notes := readNotes(t, core)
	commands := []string{"backtrace 1", "x/s *(char **)&path", "info threads"}
	if class == "spe" {
		held = splitSPE(t, notes, held)
	}
	for i := range held {
		commands = append(commands, fmt.Sprintf(`echo \nREG %d:`, i), inGDB(held[i].Name))
	}
	out := debug(t, gdb, program, core, append(commands, `echo \nREG`))
	require.Regexp(t, `(?m)^#0 .*\bspin \(\)`, out)
	require.Contains(t, out, "/"+class+".external/file\"\n", "argv[2], by the pointer that the program keeps")
	require.Regexp(t, fmt.Sprintf(`(?m)^\* 1 .*\b%d\b`, m.Header.Root), out)
	for i, h := range held {
		_, said, _ := strings.Cut(out, fmt.Sprintf("\nREG %d:", i))
		said, _, _ = strings.Cut(said, "\nREG")
		want, got := new(big.Int).SetBytes(h.Value), new(big.Int)
		if abi == regset.PPC && class == "tar" {
			got.SetBytes(notes["NT_PPC_TAR"][0]) // gdb 13 does not look for it in cores of 32-bit tasks
		} else {
			got = fromGDB(t, said)
		}
		if strings.HasSuffix(h.Name, "flags") {
			got.SetBit(got, 16, 0) // RF, which an interrupt sets and PUSHF does not show
		}
		if h.Mask != nil {
			mask := new(big.Int).SetBytes(h.Mask)
			want.And(want, mask)
			got.And(got, mask)
		}
		require.Equal(t, want.Text(16), got.Text(16), "%s: %s", h.Name, said)
	}
	for _, n := range append([]string{"NT_PRSTATUS", "NT_PRPSINFO", "NT_SIGINFO", "NT_AUXV", "NT_FILE"}, notesOf[class]...) {
		require.Len(t, notes[n], 1, n)
	}
}

// splitSPE compares what is in a note that gdb does not read, the upper halves of
// the registers, the accumulator and SPEFSCR. The lower halves are left: general
// registers.
func splitSPE(t *testing.T, notes map[string][][]byte, held []cases.Held) (lower []cases.Held) {
	t.Helper()
	spe := notes["0x00000101"] // NT_PPC_SPE, which readelf does not know
	require.Len(t, spe, 1)
	want := ""
	for _, h := range held {
		if n, ok := strings.CutPrefix(h.Name, "evr"); ok {
			want += fmt.Sprintf("%x", h.Value[:4])
			lower = append(lower, cases.Held{Name: "r" + n, Value: h.Value[4:]})
		} else {
			want += fmt.Sprintf("%x", h.Value)
		}
	}
	require.Len(t, lower, 32)
	require.Equal(t, want, hex.EncodeToString(spe[0]))
	return lower
}

// inGDB is the command that shows a register in hex digits.
func inGDB(name string) string {
	other := map[string]string{
		"rflags": "eflags", "fcw": "fctrl", "fsw": "fstat", "ftw": "ftag", "fip": "fioff", "fcs": "fiseg", "fdp": "fooff", "fds": "foseg",
		"ppr": "ppr >> 32", // the program reads the upper half
	}
	if n := other[name]; n != "" {
		return "print/x $" + n
	}
	numbered := regexp.MustCompile(`^(f|v|vs|xmm|ymm|zmm|st)(\d+)$`).FindStringSubmatch(name)
	if numbered == nil {
		return "print/x $" + name
	}
	switch n := numbered[2]; numbered[1] {
	case "v":
		return "print/x $vr" + n + ".uint128"
	case "f", "st":
		return "info registers " + name // print/x makes an integer of it
	case "ymm":
		return "print/x $" + name + ".v2_int128"
	case "zmm":
		return "print/x $" + name + ".v4_int128"
	default:
		return "print/x $" + name + ".uint128"
	}
}

// fromGDB is the value in what gdb says: a number, the raw bytes of one, or
// numbers of 16 bytes with the lowest first.
func fromGDB(t *testing.T, said string) *big.Int {
	_, value, found := strings.Cut(said, "(raw ")
	if !found {
		_, value, found = strings.Cut(said, " = ")
	}
	require.True(t, found, "%s", said)
	v := new(big.Int)
	numbers := regexp.MustCompile(`0x([0-9a-f]+)(?: <repeats (\d+) times>)?`).FindAllStringSubmatch(value, -1)
	require.NotEmpty(t, numbers, "%s", said)
	for i := len(numbers) - 1; i >= 0; i-- {
		require.Empty(t, numbers[i][2], "registers differ")
		n, ok := new(big.Int).SetString(numbers[i][1], 16)
		require.True(t, ok)
		v.Or(v.Lsh(v, 128), n)
	}
	return v
}

// readThreads checks threads, backtraces, arguments and memory of a program in C.
func readThreads(t *testing.T, gdb string, g *member, abi regset.ABI) {
	dir := "deep-" + abi.String()
	require.NoError(t, os.MkdirAll(filepath.Join(g.dir, dir), 0o755))
	program := compile(t, filepath.Join(g.dir, dir), abi.String(), "deep")
	j := startJob(t, g, dir, g.see(t, program))
	j.save()
	<-j.end
	compareThreads(t, gdb, program, filepath.Join(g.dir, dir, "image"))
}

// compareThreads compares what gdb finds with what the program's source says.
func compareThreads(t *testing.T, gdb, program, file string) {
	core, m := makeCore(t, file)
	require.Len(t, m.Tasks, 3)
	out := debug(t, gdb, program, core, []string{"info threads", "thread apply all backtrace", "print/x words", "x/1wx &words[2]", "print there"})
	for _, task := range m.Tasks {
		require.Regexp(t, fmt.Sprintf(`(?m)^[* ] \d+ .*\b%d\b`, task.TID), out)
	}
	for _, stack := range []string{
		`#0 .*inner \(depth=(depth@entry=)?42\).*\n#1 .*middle \(n=(n@entry=)?41\).*\n#2 .*main \(\)`,
		`#0 .*inner \(depth=(depth@entry=)?7\).*\n#1 .*spinner \(arg=(arg@entry=)?0x[0-9a-f]+ <words>\)`,
		`#\d .*pause \(\).*\n#\d .*waits \(depth=9\).*\n#\d .*sleeper \(`,
	} {
		require.Regexp(t, stack, out)
	}
	require.Contains(t, out, "{0x9e3779b1, 0x3c6ef362, 0xdaa66d13}")
	require.Regexp(t, `<words\+8>:\s+0xdaa66d13\b`, out)
	require.NotContains(t, out, "too small")
	require.Len(t, readNotes(t, core)["NT_PRSTATUS"], 3)
}
