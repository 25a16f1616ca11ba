package main

import (
	"fmt"
	"os"
	"syscall"
	"unsafe"
)

// setSize sets the size of a terminal that has none: a serial line does not
// tell it. Size is ROWSxCOLS.
func setSize(tty *os.File, size string) error {
	var rows, cols uint16
	if _, err := fmt.Sscanf(size, "%dx%d", &rows, &cols); err != nil {
		return fmt.Errorf("terminal size %q: %w", size, err)
	}
	winsize := [4]uint16{rows, cols}
	_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, tty.Fd(), syscall.TIOCSWINSZ, uintptr(unsafe.Pointer(&winsize)))
	if errno != 0 {
		return fmt.Errorf("setting the size of %s: %w", tty.Name(), errno)
	}
	return nil
}
