package vmtests

import (
	"regexp"
	"strings"
)

var panicLine = regexp.MustCompile(`Kernel panic.*`)

// hints are what a kernel is configured without that ends so, by what it prints.
var hints = []struct{ printed, symbols string }{
	{"Unable to mount root fs", "is CONFIG_BLK_DEV_INITRD set?"},
	{"VFS: Cannot open root device", "is CONFIG_BLK_DEV_INITRD set?"},
	{"No working init found", "are CONFIG_BINFMT_ELF and CONFIG_BLK_DEV_INITRD set, and the CPU's CONFIG_ALTIVEC and CONFIG_VSX?"},
	{"Attempted to kill init", "the programs of the guest may need CONFIG_FUTEX, CONFIG_EPOLL, CONFIG_PROC_FS, and on powerpc CONFIG_ALTIVEC and CONFIG_VSX"},
}

// diagnose says, of what a guest printed until it came to nothing, what may be
// wrong with its kernel.
func diagnose(console string) string {
	said := ""
	if line := panicLine.FindString(console); line != "" {
		said = ": " + strings.TrimSpace(line)
	}
	for _, h := range hints {
		if strings.Contains(console, h.printed) {
			return said + " (" + h.symbols + ")"
		}
	}
	if strings.TrimSpace(console) == "" {
		return ": it printed nothing (is its console set: CONFIG_HVC_CONSOLE on pseries, CONFIG_SERIAL_PMACZILOG_CONSOLE on Macs, CONFIG_SERIAL_8250_CONSOLE elsewhere?)"
	}
	return said
}
