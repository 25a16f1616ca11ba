package vmtests

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// choice is what the command line says of which guests to boot, and how.
type choice struct {
	kernels      kernelFlag
	cpu, machine string
}

func init() {
	flag.Var(chosen.kernels, "kernel", "`GUEST[=FILE]`: boot this guest only, with this kernel; GUEST may be a kernel's name, as ppc64, for all that have it")
	flag.StringVar(&chosen.cpu, "cpu", "", "boot only guests with this `CPU` of QEMU's; one that no guest has goes into the first guest of -kernel")
	flag.StringVar(&chosen.machine, "machine", "", "QEMU `machine` instead of the guests' own")
}

// kernelFlag holds the files of -kernel by the name of a guest or of the kernel
// that each stands for; "" is the guest's own.
type kernelFlag map[string]string

func (k kernelFlag) String() string { return fmt.Sprint(map[string]string(k)) }

func (k kernelFlag) Set(s string) error {
	name, file, _ := strings.Cut(s, "=")
	if _, err := Find(name); err != nil {
		return err
	}
	k[name] = file
	return nil
}

// of is how a guest is booted: as which guest, and with which kernel, "" for its
// own. LeftOut says why it is not booted.
func (c choice) of(g Guest) (as Guest, kernel, leftOut string) {
	kernel, named := c.kernels[g.Name]
	if !named {
		kernel, named = c.kernels[g.Kernel]
	}
	if !named && len(c.kernels) > 0 {
		return g, "", "left out: it is not named by -kernel"
	}
	if c.cpu != "" {
		as = g.With(c.cpu, "")
		other := as.Name != g.Name
		_, exists := g.sibling(c.cpu)
		_, alone := c.kernels[g.Name]
		firstOfKernel, err := Find(g.Kernel)
		switch {
		case err != nil:
			return g, "", err.Error()
		case !exists && !named:
			return g, "", fmt.Sprintf("left out: it has no CPU %s; -kernel=%s -cpu=%s gives it one", c.cpu, g.Kernel, c.cpu)
		case other && !alone && (exists || g.Name != firstOfKernel.Name):
			return g, "", "left out: -cpu is that of another guest"
		}
		g = as
	}
	return g.With("", c.machine), kernel, ""
}

func TestChoice(t *testing.T) {
	for _, test := range []struct {
		choice choice
		want   []string // NAME KERNEL
	}{
		{choice{kernels: kernelFlag{"ppc64": "v"}, cpu: "power9"}, []string{"ppc64-power9 v"}},
		{choice{kernels: kernelFlag{"ppc64": "v"}, cpu: "power9_v2.2"}, []string{"ppc64-power9 v"}},
		{choice{kernels: kernelFlag{"ppc64": "v"}, cpu: "970"}, []string{"ppc64-970 v"}},
		{choice{kernels: kernelFlag{"ppc64le": "v"}}, []string{"ppc64le-power8 v", "ppc64le-power9 v", "ppc64le-power10 v"}},
		{choice{kernels: kernelFlag{"i386-max": "v"}, cpu: "pentium3"}, []string{"i386-pentium3 v"}},
		{choice{kernels: kernelFlag{"ppc64-power8": "v"}, cpu: "power9"}, []string{"ppc64-power9 v"}},
		{choice{kernels: kernelFlag{"ppc32": ""}, cpu: "7400"}, []string{"ppc32-7400 "}},
		{choice{cpu: "power10"}, []string{"ppc64-power10 ", "ppc64le-power10 "}},
		{choice{cpu: "none"}, nil},
	} {
		var got []string
		for _, g := range Guests {
			if as, kernel, leftOut := test.choice.of(g); leftOut == "" {
				got = append(got, as.Name+" "+kernel)
			}
		}
		require.Equal(t, test.want, got, "%+v", test.choice)
	}
	for _, g := range Guests {
		as, kernel, leftOut := choice{}.of(g)
		require.Equal(t, g, as)
		require.Empty(t, kernel+leftOut)
	}
}

func TestWith(t *testing.T) {
	for _, test := range []struct {
		guest, cpu, machine string
		want                Guest
	}{
		{"ppc64-power8", "power9", "", Guest{Name: "ppc64-power9", Machine: power9, CPU: "power9", Console: "hvc0", Flavour: "ppc64"}},
		{"ppc64-power9", "power8,vsx=off", "", Guest{Name: "ppc64-power8", Machine: pseries, CPU: "power8,vsx=off", Console: "hvc0", Flavour: "ppc64"}},
		{"ppc64-power9", "power8e", "", Guest{Name: "ppc64-power8e", Machine: pseries, CPU: "power8e", Console: "hvc0", Flavour: "ppc64"}},
		{"ppc64-power9", "power12", "", Guest{Name: "ppc64-power12", Machine: power9, CPU: "power12", Console: "hvc0", Flavour: "ppc64"}},
		{"ppc64-power8", "970", "", Guest{Name: "ppc64-970", Machine: mac99, CPU: "970", Console: "ttyPZ0", Flavour: "ppc64-gccgo"}},
		{"ppc64-power8", "power7+", "", Guest{Name: "ppc64-power7+", Machine: pseries, CPU: "power7+", Console: "hvc0", Flavour: "ppc64-gccgo"}},
		{"ppc64-power8", "", novsx, Guest{Name: "ppc64-power8", Machine: novsx, CPU: "power8", Console: "hvc0", Flavour: "ppc64-gccgo"}},
		{"ppc64le-power9", "", "powernv9", Guest{Name: "ppc64le-power9", Machine: "powernv9", CPU: "power9", Console: "hvc0", Flavour: "ppc64le"}},
		{"ppc32-7447", "", mac99, Guest{Name: "ppc32-7447", Machine: mac99, CPU: "7447", Console: "ttyPZ0", Flavour: "ppc32"}},
		{"x86_64-max", "Skylake-Client,-avx", "microvm,acpi=off", Guest{Name: "x86_64-Skylake-Client,-avx", Machine: "microvm,acpi=off", CPU: "Skylake-Client,-avx", Console: "ttyS0", Flavour: "x86_64"}},
	} {
		g, err := Find(test.guest)
		require.NoError(t, err)
		got := g.With(test.cpu, test.machine)
		require.Equal(t, test.want, Guest{Name: got.Name, Machine: got.Machine, CPU: got.CPU, Console: got.Console, Flavour: got.Flavour})
		require.Equal(t, []string{g.Kernel, g.QEMU}, []string{got.Kernel, got.QEMU})
	}
}

func TestCmdline(t *testing.T) {
	g := Guest{Console: "hvc0", Append: "a=1"}
	require.Equal(t, "console=hvc0 quiet "+cheap+" a=1 b=2", g.cmdline(Config{Append: " b=2"}))
	require.Equal(t, "console=hvc0 "+cheap+" a=1", g.cmdline(Config{Verbose: true}))
}

func TestGDBCommand(t *testing.T) {
	g, err := Find("ppc64")
	require.NoError(t, err)
	require.Equal(t, "gdb-multiarch -ex 'set architecture powerpc:common64' -ex 'set endian big' -ex 'target remote :1234'",
		Quote(g.GDB("/nonexistent")))
}

// labelled begins each line with whose it is.
type labelled struct {
	mu    sync.Mutex
	label string
	to    io.Writer
	line  []byte
}

func (l *labelled) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.line = append(l.line, b...)
	for {
		end := bytes.IndexByte(l.line, '\n')
		if end < 0 {
			return len(b), nil
		}
		if _, err := fmt.Fprintf(l.to, "[%s] %s\n", l.label, printable(strings.TrimRight(string(l.line[:end]), "\r"))); err != nil {
			return 0, err
		}
		l.line = l.line[end+1:]
	}
}

func TestLabelled(t *testing.T) {
	var out strings.Builder
	l := &labelled{label: "x", to: &out}
	for _, piece := range []string{"one\r\ntw", "o\x1b[0m\nthree"} {
		_, err := l.Write([]byte(piece))
		require.NoError(t, err)
	}
	require.Equal(t, "[x] one\n[x] two[0m\n", out.String())
}

// TestOwnKernel finds a kernel from the top of the checkout, and refuses one of
// another machine.
func TestOwnKernel(t *testing.T) {
	g, err := Find("ppc64")
	require.NoError(t, err)
	_, err = g.own("..", "nonexistent")
	require.ErrorContains(t, err, "../nonexistent: no such file")
	path, err := g.own("..", "go.mod")
	require.NoError(t, err)
	require.Equal(t, "../go.mod", path)
	self, err := os.Executable()
	require.NoError(t, err)
	_, err = g.own("..", self)
	require.ErrorContains(t, err, ", little endian, not for EM_PPC64, big endian")
}
