package vmtests

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"cr/initramfs/agent"
)

// Options of the tests, to be given after -args:
//
//	go test ./vmtests -args -kernel=ppc64=vmlinux -cpu=power9
var (
	chosen      = choice{kernels: kernelFlag{}}
	qemuFlag    = flag.String("qemu", "", "QEMU `command` instead of the guests' own")
	appendFlag  = flag.String("append", "", "more for the kernel's `command line`")
	consoleFlag = flag.Bool("console", false, "show what the guests print on their consoles, kernel messages too, as -v does")
	gdbFlag     = flag.Bool("gdb", false, "let QEMU wait for gdb; the command to type is printed, and -boot and -idle do not count")
	keepFlag    = flag.Bool("keep", false, "keep the directories that guests share with the host")
	bootFlag    = flag.Duration("boot", 3*time.Minute, "how long a guest may take to come up")
	idleFlag    = flag.Duration("idle", 3*time.Minute, "how long a guest may print nothing")
)

// start boots a guest for a test. Its directory dir is the guest's agent.Dir.
// The guest ends with the test; if the test failed, what the guest printed is
// logged.
func start(t testing.TB, g Guest) (vm *VM, dir string) {
	t.Helper()
	p := prepare(t, g, "")
	vm, err := p.boot(t)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		vm.Close()
		if !*keepFlag {
			os.RemoveAll(p.config.Dir)
		}
	})
	logConsole(t, vm)
	return vm, p.config.Dir
}

// prepared is a guest that is ready to be booted, as the command line has it.
type prepared struct {
	Guest
	files  Files
	config Config
	w      io.Writer // for what it prints on its console
}

// prepare builds what a guest needs; dir is the directory that it shares with the
// host, "" for a new one.
func prepare(t testing.TB, g Guest, dir string) *prepared {
	t.Helper()
	g, kernel, leftOut := chosen.of(g)
	if leftOut != "" {
		t.Skip(leftOut)
	}
	files, err := g.Build(t.Context(), kernel)
	if err != nil {
		t.Fatal(err)
	}
	if dir == "" {
		dir = shared(t, g)
	}
	p := &prepared{Guest: g, files: files, config: Config{
		QEMU: *qemuFlag, Append: *appendFlag, Verbose: *consoleFlag || testing.Verbose(), GDB: *gdbFlag, Dir: dir,
	}}
	if p.config.Verbose {
		p.w = &labelled{label: g.Name, to: os.Stderr}
	}
	return p
}

// boot starts a guest and waits until it is up. Whoever calls it closes it.
func (p *prepared) boot(t testing.TB) (*VM, error) {
	t.Helper()
	// The guest outlives the wait for it, so the wait has a context of its own.
	ctx, cancel := context.WithCancelCause(context.Background())
	tooLong := time.AfterFunc(*bootFlag, func() { cancel(fmt.Errorf("nothing for %v", *bootFlag)) })
	if p.config.GDB {
		tooLong.Stop()
		fmt.Fprintf(os.Stderr, "%s waits for a debugger. Type, then continue:\n  %s\n", p.Name, Quote(p.GDB(p.files.Kernel)))
	}
	began := time.Now()
	vm, err := p.Boot(ctx, p.files, p.config, p.w)
	tooLong.Stop()
	if err == nil {
		t.Logf("up after %.1f s", time.Since(began).Seconds())
		return vm, nil
	}
	if vm != nil {
		t.Logf("%s\nthe console of %s:\n%s", vm.Cmdline(), p.Name, printable(vm.Console()))
	}
	return nil, err
}

// logConsole logs what a guest prints from now on, if the test fails.
func logConsole(t testing.TB, vm *VM) {
	before := vm.Console()
	t.Cleanup(func() {
		said := printable(strings.TrimPrefix(vm.Console(), before))
		if t.Failed() && said != "" {
			t.Logf("%s\nthe console of %s:\n%s", vm.Cmdline(), vm.Guest.Name, said)
		}
	})
}

// shared makes the directory that a guest shares with the host.
func shared(t testing.TB, g Guest) string {
	dir, err := os.MkdirTemp("", "cr-"+g.Name+"-")
	if err != nil {
		t.Fatal(err)
	}
	if *keepFlag {
		t.Logf("%s is %s of guest %s", dir, agent.Dir, g.Name)
	}
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
