package selftest

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"cr/regset"
)

// emulators run the programs of other machines.
var emulators = map[regset.ABI][]string{
	regset.I386:    {"qemu-i386"},
	regset.PPC:     {"qemu-ppc", "-cpu", "7447"},
	regset.PPC64:   {"qemu-ppc64"},
	regset.PPC64LE: {"qemu-ppc64le"},
}

// emulatorLacks lists what the emulators above have not.
var emulatorLacks = map[regset.ABI][]string{
	regset.I386:    {"avx512", "pkru"},
	regset.PPC:     {"vsx", "dfp", "tar", "dscr", "ppr", "modes", "dexcr"},
	regset.PPC64:   {"dscr", "ppr", "modes", "dexcr"},
	regset.PPC64LE: {"dscr", "ppr", "modes", "dexcr"},
}

func buildTargets(t *testing.T, abi regset.ABI, class string) *program {
	t.Helper()
	p, err := unpack(t.TempDir(), abi, class)
	if errors.Is(err, errNotBuilt) {
		t.Skip(err)
	}
	require.NoError(t, err)
	return p
}

// TestTargets proves that the programs and the tables agree on what the
// registers hold, without any checkpoint: natively where this machine can, and
// under QEMU's user mode.
func TestTargets(t *testing.T) {
	h, err := thisHost()
	require.NoError(t, err)
	for _, abi := range []regset.ABI{regset.I386, regset.X86_64, regset.PPC, regset.PPC64, regset.PPC64LE} {
		for _, c := range append(classes(abi), debugClass) {
			if c.Regs(abi, func(string) uint64 { return 0 }) == nil {
				continue
			}
			t.Run(abi.String()+"/"+c.Name, func(t *testing.T) {
				p := buildTargets(t, abi, c.Name)
				native := abi == regset.X86_64 && runtime.GOARCH == "amd64"
				if native {
					if reason := h.lacks(c.Needs); reason != "" {
						t.Skip(reason)
					}
					checkDumps(t, c, p, runReleased(t, p))
					return
				}
				checkDumps(t, c, p, emulate(t, c, p))
			})
		}
	}
}

func checkDumps(t *testing.T, c *Class, p *program, out []byte) {
	t.Helper()
	regs := c.Regs(p.abi, p.symbol)
	dumps, err := parseDumps(p.abi, out, size(regs))
	require.NoError(t, err)
	require.Len(t, dumps, 2)
	require.Empty(t, compare(p.abi, regs, dumps[0].body, patternP))
	require.Empty(t, compare(p.abi, regs, dumps[1].body, patternQ))
	require.Zero(t, dumps[0].result)
}

// argument is the file that the programs are given.
func argument(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(path, []byte(fileContents), 0o644))
	return path
}

// runReleased runs a program to its spin and releases it.
func runReleased(t *testing.T, p *program) []byte {
	t.Helper()
	r, w, err := os.Pipe()
	require.NoError(t, err)
	defer r.Close()
	cmd := exec.Command(p.path, "spin", argument(t))
	cmd.Stdout = w
	require.NoError(t, cmd.Start())
	defer cmd.Process.Kill()
	w.Close()
	require.NoError(t, awaitSpin(cmd.Process.Pid, p, time.Now().Add(10*time.Second)))
	require.NoError(t, release(cmd.Process.Pid, p))
	out := make([]byte, 1<<16)
	n := 0
	for {
		k, err := r.Read(out[n:])
		if n += k; err != nil {
			break
		}
	}
	require.NoError(t, cmd.Wait())
	return out[:n]
}

// emulate runs a program that does not spin in the first place.
func emulate(t *testing.T, c *Class, p *program) []byte {
	t.Helper()
	emulator := emulators[p.abi]
	switch c.Name {
	case "spe":
		emulator = []string{"qemu-ppc", "-cpu", "e500v2_v30"}
	case "hashkey":
		emulator = []string{emulator[0], "-cpu", "power10"}
	}
	for _, lack := range emulatorLacks[p.abi] {
		if lack == c.Name {
			t.Skipf("%v has no %s", emulator, c.Name)
		}
	}
	if _, err := exec.LookPath(emulator[0]); err != nil {
		t.Skip(err)
	}
	out, err := exec.Command(emulator[0], append(emulator[1:], released(t, p), "spin", argument(t))...).Output()
	require.NoError(t, err)
	return out
}

// released writes the program with its spin taken away.
func released(t *testing.T, p *program) string {
	t.Helper()
	data, err := os.ReadFile(p.path)
	require.NoError(t, err)
	addr, code := p.releaseCode()
	data[p.text.Offset+addr-p.text.Addr] = code
	path := filepath.Join(t.TempDir(), p.class)
	require.NoError(t, os.WriteFile(path, data, 0o755))
	return path
}
