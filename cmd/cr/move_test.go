package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"

	"cr/convert"
	"cr/image"
	"cr/image/imagetest"
	"cr/kernel"
	"cr/ppc"
	"cr/regset"
)

// file writes a file for a test and returns its path.
func file(t *testing.T, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, content, 0o600))
	return path
}

// macs are two machines of 32-bit powerpc as files, and an image of the first
// in which one task uses the vector unit, which the second lacks.
func macs(t *testing.T) (g4, g3, used, unused string) {
	t.Helper()
	describe := func(hwcap uint64) string {
		var b bytes.Buffer
		require.NoError(t, convert.WriteMachine(&b, &regset.Machine{
			Arch: "ppc", Release: "6.12", PageSize: 4096, ABIs: []string{"ppc"}, HWCAP: hwcap,
			Has: ppc.FromHWCAP(regset.PPC, hwcap, 0, ppc.Info{}),
		}))
		return file(t, "machine", b.Bytes())
	}
	img := func(v0 byte) string {
		m := imagetest.Image(regset.PPC)
		for _, c := range m.CPUs {
			regs := make([]byte, 192)
			regset.PPC.Order().PutUint32(regs[32*4:], imagetest.Text)
			regset.PPC.Order().PutUint32(regs[33*4:], 1<<14) // MSR: user mode
			c.State = regset.State{ABI: regset.PPC, Sets: []regset.Set{{Note: regset.PRSTATUS, Data: regs}}}
		}
		vmx := make([]byte, 544)
		vmx[0] = v0
		regset.PPC.Order().PutUint32(vmx[32*16+12:], 1<<16) // VSCR: NJ
		m.CPUs[0].State.Put(regset.PPC_VMX, vmx)
		return file(t, "image", imagetest.Bytes(m))
	}
	return describe(0x9c000001), describe(0x8c000001), img(1), img(0)
}

const noVMX = "pid 100: NT_PPC_VMX: vector registers are in use, and the machine has no vmx\n"

func TestVerify(t *testing.T) {
	cr, _ := programs(t)
	g4, g3, used, unused := macs(t)
	whole, err := os.ReadFile(used)
	require.NoError(t, err)
	flipped := append([]byte(nil), whole...)
	flipped[len(whole)-1000] ^= 4

	for _, test := range []struct {
		name   string
		args   []string
		status int
		out    string
		said   string // part of it
	}{
		{"it would", []string{"--on", g4, used}, 0, "", ""},
		{"a register set in use", []string{"--on", g3, used}, 1, noVMX, ""},
		{"a register set not in use", []string{"--on", g3, unused}, 0, "", ""},
		{"damaged memory", []string{"--on", g4, file(t, "flipped", flipped)}, 2, "", "bad image: corrupt: checksum"},
		{"damaged memory, and a reason", []string{"--on", g3, file(t, "flipped", flipped)}, 2, "", "corrupt: checksum"},
		{"cut short", []string{"--on", g4, file(t, "cut", whole[:len(whole)-1])}, 2, "", "cut short"},
		{"no image", []string{"--on", g4, g4}, 2, "", "not a checkpoint image"},
		{"no such file", []string{"--on", g4, "/nowhere"}, 125, "", "no such file"},
		{"no machine", []string{"--on", used, used}, 125, "", "not a description of a machine"},
		{"no such option", []string{"--upon", g4, used}, 125, "", "usage: cr verify"},
		{"two images", []string{used, used}, 125, "", "usage: cr verify"},
	} {
		t.Run(test.name, func(t *testing.T) {
			out, said, w := run(t, cr, append([]string{"verify"}, test.args...)...)
			require.Equal(t, test.status, w.ExitStatus(), said)
			require.Equal(t, test.out, out)
			require.Contains(t, said, test.said)
			if test.status < 2 {
				require.Empty(t, said)
			}
		})
	}
}

// TestVerifyWarns: what a program was told of shows in its auxiliary vector.
func TestVerifyWarns(t *testing.T) {
	cr, _ := programs(t)
	_, g3, _, unused := macs(t)
	f, err := os.Open(unused)
	require.NoError(t, err)
	defer f.Close()
	m, err := readAll(f)
	require.NoError(t, err)
	for _, mm := range m.MMs {
		mm.Auxv = make([]byte, 16)
		regset.PPC.Order().PutUint32(mm.Auxv, 16)
		regset.PPC.Order().PutUint32(mm.Auxv[4:], 0x9c000001)
	}
	told := file(t, "told", imagetest.Bytes(m))
	const reason = "pid 100, 102: was told of vmx, which the machine lacks"
	out, said, w := run(t, cr, "verify", "--on", g3, told)
	require.Zero(t, w.ExitStatus())
	require.Empty(t, out)
	require.Contains(t, said, "cr verify: warning: "+reason)
	out, said, w = run(t, cr, "verify", "--strict", "--on", g3, told)
	require.Equal(t, 1, w.ExitStatus())
	require.True(t, strings.HasPrefix(out, reason), out)
	require.Empty(t, said)
}

func TestRewrite(t *testing.T) {
	cr, _ := programs(t)
	g4, g3, used, unused := macs(t)
	dir := t.TempDir()
	to := filepath.Join(dir, "out")

	out, said, w := run(t, cr, "rewrite", "--to", g3, used, to)
	require.Equal(t, 1, w.ExitStatus())
	require.Empty(t, out)
	require.Equal(t, "cr rewrite: "+used+": "+noVMX, said)
	require.NoFileExists(t, to)

	_, said, w = run(t, cr, "rewrite", "--to", g3, unused, to)
	require.Zero(t, w.ExitStatus(), said)
	st, err := os.Stat(to)
	require.NoError(t, err)
	require.EqualValues(t, 0o600, st.Mode())
	f, err := os.Open(to)
	require.NoError(t, err)
	defer f.Close()
	m, err := readAll(f)
	require.NoError(t, err)
	require.Nil(t, m.CPUs[0].State.Find(regset.PPC_VMX))
	for _, machine := range []string{g3, g4} {
		_, said, w = run(t, cr, "verify", "--on", machine, to)
		require.Zero(t, w.ExitStatus(), said)
	}

	// An image may take its own place.
	_, said, w = run(t, cr, "rewrite", "--to", g4, to, to)
	require.Zero(t, w.ExitStatus(), said)

	// A pipe is written to, not replaced.
	out, said, w = run(t, cr, "rewrite", "--to", g4, to, "/dev/stdout")
	require.Zero(t, w.ExitStatus(), said)
	_, err = readAll(strings.NewReader(out))
	require.NoError(t, err)

	whole, err := os.ReadFile(unused)
	require.NoError(t, err)
	whole[len(whole)-1000] ^= 4
	_, said, w = run(t, cr, "rewrite", "--to", g4, file(t, "flipped", whole), filepath.Join(dir, "new"))
	require.Equal(t, 2, w.ExitStatus())
	require.Contains(t, said, "corrupt: checksum")
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, left, 1, "what was written of a bad image is gone")

	_, said, w = run(t, cr, "rewrite", unused, to)
	require.Equal(t, 125, w.ExitStatus())
	require.Contains(t, said, "usage: cr rewrite")
}

func TestFeatures(t *testing.T) {
	cr, _ := programs(t)
	out, said, w := run(t, cr, "features", "--json")
	require.Zero(t, w.ExitStatus(), said)
	m, err := convert.ReadMachine(strings.NewReader(out))
	require.NoError(t, err)
	own, err := kernel.Features()
	require.NoError(t, err)
	require.Equal(t, own, m)
	abi := m.ABIs[0]
	require.Greater(t, m.TaskSizes[abi], uint64(1<<30))

	out, said, w = run(t, cr, "features")
	require.Zero(t, w.ExitStatus(), said)
	arch, err := convert.ArchOf(m)
	require.NoError(t, err)
	for _, name := range append(regset.Names(arch, m.Has), m.Arch, m.Release) {
		require.Contains(t, out, name)
	}
}

// TestVerifyHere checkpoints a program and asks whether it would restart here.
func TestVerifyHere(t *testing.T) {
	cr, _ := programs(t)
	path := filepath.Join(t.TempDir(), "image")
	job := exec.Command("sleep", "100")
	require.NoError(t, job.Start())
	defer job.Wait()
	defer job.Process.Kill()
	_, said, w := run(t, cr, "checkpoint", "-o", path, strconv.Itoa(job.Process.Pid))
	require.Zero(t, w.ExitStatus(), said)
	out, said, w := run(t, cr, "verify", "--strict", path)
	require.Zero(t, w.ExitStatus(), said)
	require.Empty(t, out)
	require.Empty(t, said)
}

// auxv is the vector of a program that /proc shows.
func auxv(t *testing.T, b string) map[uint64]uint64 {
	t.Helper()
	v := map[uint64]uint64{}
	const word = unsafe.Sizeof(uintptr(0))
	for ; len(b) >= int(2*word); b = b[2*word:] {
		pair := [2]uintptr{}
		copy((*[2 * word]byte)(unsafe.Pointer(&pair))[:], b)
		v[uint64(pair[0])] = uint64(pair[1])
	}
	require.Contains(t, v, uint64(16), "AT_HWCAP is there")
	return v
}

// TestRunCPU: the C library and /proc tell of no feature that is not allowed,
// in the program and in those that it starts, and nothing else has changed.
func TestRunCPU(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skip("the bits below are those of x86")
	}
	const hwcap, sse2, tsc = 16, 1 << 26, 1 << 4
	cr, _ := programs(t)
	out, said, w := run(t, "/bin/cat", "/proc/self/auxv")
	require.Zero(t, w.ExitStatus(), said)
	free := auxv(t, out)
	require.NotZero(t, free[hwcap]&sse2)

	for _, argv := range [][]string{{"/bin/cat", "/proc/self/auxv"}, {"sh", "-c", ":; cat /proc/self/auxv; :"}} {
		out, said, w = run(t, cr, append([]string{"run", "-q", "--cpu=-sse2", "--cpuid=leave", "--"}, argv...)...)
		require.Zero(t, w.ExitStatus(), said)
		require.Empty(t, said)
		told := auxv(t, out)
		require.Equal(t, free[hwcap]&^sse2, told[hwcap])
		require.NotZero(t, told[hwcap]&tsc, "bits that are no feature's stay")
		require.Len(t, told, len(free))
	}

	out, said, w = run(t, cr, "run", "-q", "--cpu=-sse2", "--cpuid=leave", "--", "sh", "-c", "LD_SHOW_AUXV=1 /bin/true; printenv GLIBC_TUNABLES")
	require.Zero(t, w.ExitStatus(), said)
	shown := regexp.MustCompile(`AT_HWCAP: +([0-9a-f]+)`).FindStringSubmatch(out)
	require.NotNil(t, shown, out)
	require.Equal(t, strconv.FormatUint(free[hwcap]&^sse2, 16), shown[1], "the stack")
	require.Contains(t, out, "glibc.cpu.hwcaps=")
	require.Contains(t, out, "-SSE4_2")

	_, said, _ = run(t, cr, "run", "--cpu=-sse2", "--cpuid=leave", "--", "true")
	require.Contains(t, said, "programs that ask the CPU itself (cpuid) see it")
}

// TestRunCPUExecs: programs are executed as they are without --cpu.
func TestRunCPUExecs(t *testing.T) {
	cr, guinea := programs(t)
	for _, test := range []struct {
		name   string
		argv   []string
		status int
		out    string
	}{
		{"a script", []string{"sh", "-c", "exec sh -c 'echo $0' name"}, 0, "name\n"},
		{"a program that is not there", []string{"sh", "-c", "/nowhere; echo $?"}, 0, "127\n"},
		{"many at once", []string{"sh", "-c", "for i in 1 2 3 4 5 6 7 8; do /bin/true & done; wait; echo done"}, 0, "done\n"},
		{"a pipeline", []string{"sh", "-c", "echo a | cat | cat | tr a b"}, 0, "b\n"},
		{"none", []string{"/nowhere"}, 127, ""},
		{"no program", []string{"/"}, 126, ""},
		{"by a thread that does not lead", []string{guinea, "threadexec", "/bin/echo", "here"}, 0, "here\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			out, said, w := run(t, cr, append([]string{"run", "-q", "--cpu=all", "--"}, test.argv...)...)
			require.Equal(t, test.status, w.ExitStatus(), said)
			require.Equal(t, test.out, out)
		})
	}
	for _, bad := range [][]string{{"--cpu=nonsense"}, {"--cpu-like=/nowhere"}, {"--cpu=all", "--cpu-like=/dev/null"}, {"--cpu=all", "--cpuid=nonsense"}} {
		_, said, w := run(t, cr, append(append([]string{"run"}, bad...), "true")...)
		require.Equal(t, 125, w.ExitStatus())
		require.NotEmpty(t, said)
	}
}

// TestRestartWarns: a restart tells what cr verify does. The component of XSAVE
// that the program was told of is one that this machine lacks.
func TestRestartWarns(t *testing.T) {
	cr, _ := programs(t)
	const sse, last, xcr0 = 1, 62, 464 // components; where XCR0 lies in NT_X86_XSTATE
	if runtime.GOARCH != "amd64" && runtime.GOARCH != "386" {
		t.Skip("x86 only: vmtests TestThereAndBack has powerpc's warnings")
	}
	_, plain := checkpointed(t, cr, "--kill")
	b, err := os.ReadFile(plain)
	require.NoError(t, err)
	here, err := kernel.Features()
	require.NoError(t, err)
	var warnings convert.Reasons
	told := altered(t, b, func(m *image.Image) {
		for n := last; n > sse && len(warnings) == 0; n-- {
			for _, c := range m.CPUs {
				set := c.State.Find(regset.X86_XSTATE)
				set[xcr0+n/8] |= 1 << (n % 8)
				if warnings = convert.Warnings(here, m); len(warnings) == 0 {
					set[xcr0+n/8] &^= 1 << (n % 8)
				}
			}
		}
	})
	if len(warnings) == 0 {
		t.Skip("this machine has every component of XSAVE that cr knows of")
	}
	for options, want := range map[string]string{
		"restart " + file(t, "told", told): "cr restart: warning: " + warnings[0].Error() + "\n",
		"restart " + plain:                 "",
		"verify " + file(t, "told", told):  "cr verify: warning: " + warnings[0].Error() + "\n",
	} {
		_, said, w := run(t, cr, strings.Fields(options)...)
		require.NotEqual(t, failed, w.ExitStatus(), said)
		require.Equal(t, want, said)
	}
}
