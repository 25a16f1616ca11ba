package vmtests

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"
)

// Options of the tests, to be given after -args:
//
//	go test ./vmtests -run TestGuest/ppc32-7447 -args -kernel ppc32=vmlinux
var (
	kernels     = kernelFlag{}
	qemuFlag    = flag.String("qemu", "", "QEMU `command` instead of the guests' own")
	machineFlag = flag.String("machine", "", "QEMU `machine` instead of the guests' own")
	cpuFlag     = flag.String("cpu", "", "`CPU` instead of the guests' own")
	appendFlag  = flag.String("append", "", "more for the kernel's `command line`")
	consoleFlag = flag.Bool("console", false, "show what the guests print on their consoles")
	keepFlag    = flag.Bool("keep", false, "keep the directories that guests share with the host")
	bootFlag    = flag.Duration("boot", 3*time.Minute, "how long a guest may take to come up")
	idleFlag    = flag.Duration("idle", 3*time.Minute, "how long a guest may print nothing")
)

func init() {
	flag.Var(kernels, "kernel", "`GUEST=FILE`: boot a guest with another kernel; GUEST may be a kernel's name")
}

// kernelFlag holds the kernels of the command line by the name of a guest or of
// the kernel that each stands for.
type kernelFlag map[string]string

func (k kernelFlag) String() string { return fmt.Sprint(map[string]string(k)) }

func (k kernelFlag) Set(s string) error {
	name, file, ok := strings.Cut(s, "=")
	if !ok || file == "" {
		return fmt.Errorf("%q is not GUEST=FILE", s)
	}
	if _, err := Find(name); err != nil {
		return err
	}
	k[name] = file
	return nil
}

// start boots a guest for a test. Its directory dir is the guest's agent.Dir.
// The guest ends with the test; if the test failed, what the guest printed is
// logged.
func start(t testing.TB, g Guest) (vm *VM, dir string) {
	t.Helper()
	files, err := g.Build(t.Context(), cmp.Or(kernels[g.Name], kernels[g.Kernel]))
	if err != nil {
		t.Fatal(err)
	}
	dir = shared(t, g)
	var w io.Writer
	if *consoleFlag {
		w = os.Stderr
	}
	// The guest outlives the wait for it, so the wait has a context of its own.
	ctx, cancel := context.WithCancelCause(context.Background())
	tooLong := time.AfterFunc(*bootFlag, func() { cancel(fmt.Errorf("nothing for %v", *bootFlag)) })
	began := time.Now()
	vm, err = g.Boot(ctx, files, Config{
		QEMU: *qemuFlag, Machine: *machineFlag, CPU: *cpuFlag, Append: *appendFlag, Dir: dir,
	}, w)
	tooLong.Stop()
	t.Cleanup(func() { cancel(nil) })
	if err != nil && vm == nil {
		t.Fatal(err)
	}
	booted := ""
	if err == nil {
		booted = vm.Console()
	}
	t.Cleanup(func() {
		vm.Close()
		said := printable(strings.TrimPrefix(vm.Console(), booted))
		if t.Failed() && said != "" {
			t.Logf("%s\nthe console of %s:\n%s", vm.Cmdline(), g.Name, said)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("up after %.1f s", time.Since(began).Seconds())
	return vm, dir
}

// shared makes the directory that a guest shares with the host.
func shared(t testing.TB, g Guest) string {
	if !*keepFlag {
		return t.TempDir()
	}
	dir, err := os.MkdirTemp("", "cr-"+g.Name+"-")
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s is %s of guest %s", dir, "/host", g.Name)
	return dir
}

// printable leaves out what would change the reader's terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' || r >= ' ' && r != 0x7f {
			return r
		}
		return -1
	}, s)
}
