package selftest

import (
	"os"

	"cr/internal/kconfig"
	"cr/regset"
)

// symbols are what a kernel must be configured with, without CONFIG_, for the
// sub-commands of the utility that the tests use.
func symbols(command string) []string {
	if command == "run" {
		return []string{"SECCOMP_FILTER", "UNIX"}
	}
	list := []string{"CHECKPOINT_RESTORE", "CROSS_MEMORY_ATTACH", "KCMP", "MEMFD_CREATE", "PID_NS", "PROC_PAGE_MONITOR"}
	if os.Getuid() != 0 {
		list = append(list, "USER_NS")
	}
	return list
}

// missing says what the kernel lacks for a sub-command, "" if nothing.
func (r *run) missing(command string) string {
	return r.kernel.Missing(symbols(command)...)
}

// explain adds to the reason why a machine lacks something the symbol without
// which the kernel hides it.
func explain(k *kconfig.Kernel, reason, symbol string) string {
	if reason == "" || symbol == "" {
		return reason
	}
	if missing := k.Missing(symbol); missing != "" {
		return missing + ": " + reason
	}
	if k.Known(symbol) {
		return reason
	}
	return reason + ", or the kernel no CONFIG_" + symbol
}

// compatSymbols are those without which a 64-bit kernel runs no 32-bit tasks.
var compatSymbols = map[regset.ABI]string{regset.I386: "IA32_EMULATION", regset.PPC: "COMPAT"}

// compatCases say why there are no cases of 32-bit tasks: the kernel refuses to
// execute them.
func (r *run) compatCases(refused []regset.ABI) []Case {
	if r.Save != "" || r.Load != "" || r.abis[0].WordSize() == 4 {
		return nil
	}
	var list []Case
	for _, abi := range refused {
		// Little endian kernels have none.
		if abi.WordSize() == 8 || abi.BigEndian != r.abis[0].BigEndian {
			continue
		}
		reason := explain(r.kernel, "the kernel does not execute programs of "+abi.String(), compatSymbols[abi])
		list = append(list, Case{Name: "tasks-32", Tests: []Test{{"run", func(t *T) { t.Skipf("%s", reason) }}}})
	}
	return list
}
