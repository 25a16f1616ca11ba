// Command bench measures how fast cr is: in milliseconds, and as a ratio to
// what the machine needs at least for the same bytes, measured in the same run.
// docs/speed.md explains the tables. Nothing passes or fails by its time.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// bench is one run of this program.
type bench struct {
	n       int    // measurements of each kind
	cr      string // path of the programs
	target  string
	criu    string // "" without
	scratch string // directory on tmpfs for images
}

func main() {
	short := flag.Bool("short", false, "measure little: 1 and 64 MiB, three times")
	n := flag.Int("n", 9, "how often everything is measured")
	cr := flag.String("cr", "", "the cr to measure; it is built if none is named")
	dir := flag.String("dir", "/dev/shm", "directory for images, on tmpfs; 3 GiB must be free there")
	only := flag.String("only", "", "measure the tables with this in their names only: checkpoint, restart, calls")
	flag.Parse()
	if *short {
		*n = 3
	}
	if err := run(*n, *short, *cr, *dir, *only); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(n int, short bool, cr, dir, only string) (err error) {
	scratch, err := os.MkdirTemp(dir, "cr-bench-")
	if err != nil {
		return err
	}
	defer func() {
		if e := os.RemoveAll(scratch); err == nil {
			err = e
		}
	}()
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, unix.SIGINT, unix.SIGTERM)
	go func() {
		<-interrupted
		os.RemoveAll(scratch)
		os.Exit(130)
	}()
	b := &bench{n: n, cr: cr, scratch: scratch}
	programs, err := os.MkdirTemp("", "cr-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(programs)
	if b.cr == "" {
		b.cr = filepath.Join(programs, "cr")
		build := exec.Command("go", "build", "-o", b.cr, "cr/cmd/cr")
		build.Env = append(os.Environ(), "CGO_ENABLED=0") // as the guests have it, and quicker to start
		if out, err := build.CombinedOutput(); err != nil {
			return fmt.Errorf("build cr: %w\n%s", err, out)
		}
	}
	if b.target, err = buildTarget(programs); err != nil {
		return err
	}
	if b.criu, err = exec.LookPath("criu"); err != nil && !errors.Is(err, exec.ErrNotFound) {
		return err
	}
	if b.criu != "" && os.Geteuid() != 0 {
		fmt.Println("CRIU is left out: to dump and restore takes root.")
		b.criu = ""
	}
	if err := b.printMachine(); err != nil {
		return err
	}

	shapes := []shape{{1, 1, 1}, {64, 1, 1}, {1024, 1, 1}, {1, 100, 1}, {1, 1, 100}}
	if short {
		shapes = shapes[:2]
	}
	if only == "" || strings.Contains("checkpoint restart", only) {
		if err := b.images(shapes); err != nil {
			return err
		}
	}
	if only == "" || only == "calls" {
		return b.calls(short)
	}
	return nil
}

// printMachine says what the numbers depend on.
func (b *bench) printMachine() error {
	release, machine := "?", "?"
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		release, machine = unix.ByteSliceToString(u.Release[:]), unix.ByteSliceToString(u.Machine[:])
	}
	load := "?"
	if s, err := os.ReadFile("/proc/loadavg"); err == nil {
		load, _, _ = strings.Cut(string(s), " ")
	}
	fmt.Printf("Linux %s %s, %d CPUs, load %s. Times are median (minimum) of %d in ms; ratios compare minimums.\n",
		release, machine, runtime.NumCPU(), load, b.n)
	if b.criu == "" {
		return nil
	}
	version, err := exec.Command(b.criu, "--version").Output()
	if err != nil {
		return fmt.Errorf("criu: %w", err)
	}
	fmt.Printf("CRIU: %s\n", strings.Join(strings.Fields(string(version)), " "))
	return nil
}
