// Command uinit is what u-root's init runs in a guest. It mounts the host's
// directory, then does what the kernel's command line asks for:
//
//	cr.run="COMMAND"  run it by the shell, print its exit status, leave
//	(nothing)         obey the host, if it opened a port to this guest (see
//	                  package agent); else run a shell in which the two calls
//	                  work, and leave when it ends
//	cr.tty=ROWSxCOLS  the size of the console
//	cr.port           a host waits at the port: if there is none, say why and leave
//	cr.off=reboot     leave by a reset, for machines that cannot switch
//	                  themselves off (QEMU ends at a reset with -no-reboot)
package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"cr/initramfs/agent"
)

func main() {
	cmdline := readCmdline()
	if err := mountHost(); err != nil {
		warn(err)
	}
	if err := setSize(os.Stdin, or(cmdline["cr.tty"], "24x80")); err != nil {
		warn(err)
	}
	if err := run(cmdline); err != nil {
		warn(err)
	}
	// What the console's driver still holds is lost when the power goes.
	time.Sleep(200 * time.Millisecond)
	off(cmdline["cr.off"])
}

func or(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

func warn(err error) { fmt.Fprintln(os.Stderr, "uinit:", err) }

func run(cmdline map[string]string) error {
	if command, ok := cmdline["cr.run"]; ok {
		return runCommand(command)
	}
	port, err := openPort(agent.Port)
	if _, waits := cmdline[agent.Param]; waits && err != nil {
		fmt.Println(agent.NoPort + noPort(err))
		return nil
	}
	if errors.Is(err, fs.ErrNotExist) {
		return shell()
	}
	if err != nil {
		return err
	}
	defer port.Close()
	return agent.Serve(port)
}

func runCommand(command string) error {
	// u-root's older shell has no -c.
	cmd := onConsole("/bin/sh")
	cmd.Stdin = strings.NewReader(command)
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return fmt.Errorf("running %q: %w", command, err)
	}
	fmt.Printf(agent.Exited, cmd.ProcessState.ExitCode())
	return nil
}

func shell() error {
	fmt.Println("The calls checkpoint and restart work in this shell. To leave, type exit.")
	cmd := onConsole("/bin/cr", "run", "--", "/bin/sh")
	if err := cmd.Run(); err != nil {
		warn(fmt.Errorf("cr run: %w; this shell is without the calls", err))
		return onConsole("/bin/sh").Run()
	}
	return nil
}

// onConsole is a command on the console itself. Standard output may be a pipe
// of init's.
func onConsole(argv ...string) *exec.Cmd {
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdin, os.Stdin
	return cmd
}

// off leaves the guest. The raw call: syscall.Reboot of gccgo's library gives
// EINVAL.
func off(how string) {
	command := uintptr(syscall.LINUX_REBOOT_CMD_POWER_OFF)
	if how == "reboot" {
		command = syscall.LINUX_REBOOT_CMD_RESTART
	}
	syscall.Sync()
	_, _, errno := syscall.Syscall6(syscall.SYS_REBOOT, syscall.LINUX_REBOOT_MAGIC1,
		syscall.LINUX_REBOOT_MAGIC2, command, 0, 0, 0)
	warn(fmt.Errorf("leaving the guest: %w", errno))
}
