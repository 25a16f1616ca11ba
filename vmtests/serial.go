package vmtests

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"

	"github.com/hugelgupf/vmtest/qemu"

	"cr/initramfs/agent"
)

// RunOnConsole boots a guest that runs one command of its shell and leaves. What
// the guest prints, on its one and plain serial console, goes to w. It returns
// the exit status of the command; an error if the guest did not come to the end of
// it. This needs nothing of the kernel but the console.
func (g Guest) RunOnConsole(ctx context.Context, f Files, c Config, command string, w io.Writer) (int, error) {
	if strings.Contains(command, `"`) {
		return 0, fmt.Errorf("a command line cannot have %q in it", command)
	}
	c.run = command
	fns := append(append(g.options(f, c), g.counted()...), qemu.WithQEMUArgs("-serial", "stdio"))
	o, err := qemu.OptionsFor(qemu.Arch(g.Kernel), fns...)
	if err != nil {
		return 0, err
	}
	argv, err := o.Cmdline()
	if err != nil {
		return 0, err
	}
	text := &console{also: w}
	qemu := exec.CommandContext(ctx, argv[0], argv[1:]...)
	qemu.Stdout = text
	var said strings.Builder
	qemu.Stderr = &said
	err = qemu.Run()
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	var status int
	at := strings.LastIndex(text.String(), "uinit: exit status ")
	if at < 0 {
		return 0, errors.Join(fmt.Errorf("guest %s: %w%s", g.Name, ErrGone, diagnose(text.String())), err)
	}
	if _, scanned := fmt.Sscanf(text.String()[at:], agent.Exited, &status); scanned != nil {
		return 0, errors.Join(fmt.Errorf("guest %s: exit status: %w", g.Name, scanned), err)
	}
	if err != nil {
		err = fmt.Errorf("guest %s: %w: %s", g.Name, err, said.String())
	}
	return status, err
}
