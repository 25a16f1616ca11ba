package vmtests

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"

	"github.com/hugelgupf/vmtest/qemu"

	"cr/initramfs/agent"
)

// VM is a running guest.
type VM struct {
	Guest Guest

	qemu    *qemu.VM
	console *console
	port    net.Conn
	monitor *monitor
	up      chan struct{} // closed when the guest has said that it is there
	down    chan struct{} // closed when QEMU has ended

	mu      sync.Mutex
	next    int
	running map[int]*running // nil when the guest has gone
	gone    error
}

// Command is a program to run in a guest.
type Command struct {
	Argv  []string
	Env   []string // in addition to the guest's own
	Dir   string
	Stdin []byte

	// Stdout and Stderr are written to while the command runs. Nil means that
	// the output is thrown away.
	Stdout, Stderr io.Writer
}

// ExitError is the error of a command that failed.
type ExitError struct {
	Argv   []string
	Status int // exit status; 128 and the number of the signal that ended it
	Stderr string
}

// Error names the command, its status and what it complained of.
func (e *ExitError) Error() string {
	return strings.TrimSpace(fmt.Sprintf("%s: exit status %d\n%s", strings.Join(e.Argv, " "), e.Status, e.Stderr))
}

// ErrNoPort is the error of a guest whose kernel has no virtio port, so that it
// takes no commands. RunOnConsole works all the same.
var ErrNoPort = errors.New("it has no virtio port")

// ErrGone is the error of commands whose guest ended, by a panic for one.
var ErrGone = errors.New("the guest has gone")

type running struct {
	Command
	end chan agent.Reply
}

// Boot starts a guest and waits until it takes commands. What it prints on its
// console goes to w, too. The guest ends with ctx or Close.
func (g Guest) Boot(ctx context.Context, f Files, c Config, w io.Writer) (*VM, error) {
	port, portEnd, err := socketPair("port of the guest")
	if err != nil {
		return nil, err
	}
	mon, monEnd, err := socketPair("monitor of QEMU")
	if err != nil {
		return nil, errors.Join(err, port.Close(), portEnd.Close())
	}
	vm := &VM{
		Guest:   g,
		console: &console{also: w},
		port:    port,
		monitor: newMonitor(mon),
		up:      make(chan struct{}),
		down:    make(chan struct{}),
		running: map[int]*running{},
	}
	c.port = true
	fns := append(append(g.options(f, c), g.counted()...), withPort(portEnd), withMonitor(monEnd),
		qemu.WithQEMUArgs("-serial", "stdio"), qemu.WithSerialOutput(vm.console))
	vm.qemu, err = qemu.StartContext(ctx, qemu.Arch(g.Kernel), fns...)
	if err = errors.Join(err, portEnd.Close(), monEnd.Close()); err != nil {
		return nil, errors.Join(fmt.Errorf("guest %s: %w", g.Name, err), port.Close(), mon.Close())
	}
	go func() {
		// The status says nothing: QEMU exits with 0 when a kernel panics.
		_ = vm.qemu.Wait()
		close(vm.down)
	}()
	go vm.listen()
	select {
	case <-vm.up:
		return vm, nil
	case <-vm.down:
		err = vm.why()
	case <-ctx.Done():
		err = fmt.Errorf("guest %s does not come up: %w%s", g.Name, context.Cause(ctx), diagnose(vm.Console()))
	}
	vm.Close()
	return vm, err
}

// withPort gives the guest a virtio-serial port that leads to f, a socket.
func withPort(f *os.File) qemu.Fn {
	return withSocket(f, "port", func(chardev string) []string {
		return []string{"-device", "virtio-serial-pci",
			"-device", fmt.Sprintf("virtserialport,chardev=%s,name=%s", chardev, agent.Port)}
	})
}

// Stop makes the guest stand still: it runs no instruction, and its clocks do
// not go on.
func (vm *VM) Stop() error { return vm.monitor.do("stop") }

// Continue lets it run on.
func (vm *VM) Continue() error { return vm.monitor.do("cont") }

// ended reports whether QEMU has ended.
func (vm *VM) ended() bool {
	select {
	case <-vm.down:
		return true
	default:
		return false
	}
}

// Run runs a command and waits for its end. It returns an *ExitError if the
// command failed, an error that is ErrGone if the guest did.
func (vm *VM) Run(ctx context.Context, c Command) error {
	r := &running{Command: c, end: make(chan agent.Reply, 1)}
	id, err := vm.send(r)
	if errors.Is(err, errPort) {
		// QEMU has ended or is about to, and listen has yet to say so.
		select {
		case <-vm.down:
			return vm.why()
		case <-ctx.Done():
			return fmt.Errorf("guest %s: %w", vm.Guest.Name, err)
		}
	}
	if err != nil {
		return err
	}
	select {
	case end := <-r.end:
		switch {
		case end.Error != "":
			return fmt.Errorf("guest %s: %s", vm.Guest.Name, end.Error)
		case end.Exit != 0:
			return &ExitError{Argv: c.Argv, Status: end.Exit}
		}
		return nil
	case <-vm.down:
		return vm.why()
	case <-ctx.Done():
		vm.forget(id)
		return fmt.Errorf("guest %s: %s: %w", vm.Guest.Name, strings.Join(c.Argv, " "), context.Cause(ctx))
	}
}

// Output runs a command and returns its standard output, without spaces at the
// ends.
func (vm *VM) Output(ctx context.Context, argv ...string) (string, error) {
	var stdout, stderr bytes.Buffer
	err := vm.Run(ctx, Command{Argv: argv, Stdout: &stdout, Stderr: &stderr})
	var exit *ExitError
	if errors.As(err, &exit) {
		exit.Stderr = stderr.String()
	}
	return strings.TrimSpace(stdout.String()), err
}

// Close ends the guest at once, as if its plug was pulled.
func (vm *VM) Close() {
	// It may have ended by itself.
	_ = vm.qemu.Kill()
	<-vm.down
	_ = vm.port.Close()
	_ = vm.monitor.Close()
}

// Console returns what the guest has printed on its console.
func (vm *VM) Console() string { return vm.console.String() }

// Cmdline returns the command that booted the guest, for a shell.
func (vm *VM) Cmdline() string { return Quote(vm.qemu.Cmdline()) }

func (vm *VM) send(r *running) (int, error) {
	vm.mu.Lock()
	defer vm.mu.Unlock()
	if vm.running == nil {
		return 0, vm.gone
	}
	vm.next++
	line, err := json.Marshal(agent.Request{ID: vm.next, Argv: r.Argv, Env: r.Env, Dir: r.Dir, Stdin: r.Stdin})
	if err != nil {
		return 0, err
	}
	vm.running[vm.next] = r
	if _, err = vm.port.Write(append(line, '\n')); err != nil {
		err = fmt.Errorf("%w: %w", errPort, err)
	}
	return vm.next, err
}

// errPort is a request that did not reach the guest.
var errPort = errors.New("write to its port")

func (vm *VM) find(id int) *running {
	vm.mu.Lock()
	defer vm.mu.Unlock()
	return vm.running[id]
}

func (vm *VM) forget(id int) {
	vm.mu.Lock()
	defer vm.mu.Unlock()
	delete(vm.running, id)
}

// listen hands the guest's replies to the commands that wait for them.
func (vm *VM) listen() {
	replies := json.NewDecoder(vm.port)
	for {
		var reply agent.Reply
		if err := replies.Decode(&reply); err != nil {
			break
		}
		if reply.ID == 0 {
			close(vm.up)
			continue
		}
		r := vm.find(reply.ID)
		if r == nil {
			continue
		}
		write(r.Stdout, reply.Stdout)
		write(r.Stderr, reply.Stderr)
		if reply.Ended {
			vm.forget(reply.ID)
			r.end <- reply
		}
	}
	<-vm.down
	vm.mu.Lock()
	defer vm.mu.Unlock()
	vm.running, vm.gone = nil, vm.why()
}

// write passes output on. A command whose output nobody takes any more runs on.
func write(w io.Writer, b []byte) {
	if w != nil && len(b) > 0 {
		_, _ = w.Write(b)
	}
}

// why says how a guest that has ended came to its end.
func (vm *VM) why() error {
	text := vm.Console()
	if _, reason, ok := strings.Cut(text, agent.NoPort); ok {
		reason, _, _ = strings.Cut(reason, "\n")
		return fmt.Errorf("guest %s: %w: %s", vm.Guest.Name, ErrNoPort, strings.TrimSpace(reason))
	}
	return fmt.Errorf("guest %s: %w%s", vm.Guest.Name, ErrGone, diagnose(text))
}

// console keeps what a guest prints.
type console struct {
	mu   sync.Mutex
	text bytes.Buffer
	also io.Writer
}

func (c *console) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.text.Write(b)
	write(c.also, b)
	return len(b), nil
}

// Close makes it what vmtest takes.
func (c *console) Close() error { return nil }

func (c *console) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.text.String()
}
