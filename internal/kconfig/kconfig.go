// Package kconfig tells what the running kernel was configured without.
//
// A symbol that has a trace in user space, a file in /proc or a system call, is
// looked for there. For the others /proc/config.gz is asked, which is there if
// the kernel has CONFIG_IKCONFIG_PROC.
package kconfig

import (
	"bufio"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
)

// Config is a kernel's configuration: the values of symbols, without CONFIG_.
// Those that are not set are not in it. Nil if it is not known.
type Config map[string]string

// Parse reads a .config file.
func Parse(r io.Reader) (Config, error) {
	c := Config{}
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		name, value, ok := strings.Cut(lines.Text(), "=")
		if ok && strings.HasPrefix(name, "CONFIG_") {
			c[strings.TrimPrefix(name, "CONFIG_")] = value
		}
	}
	return c, lines.Err()
}

// read reads /proc/config.gz.
func read() (Config, error) {
	f, err := os.Open("/proc/config.gz")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return nil, err
	}
	return Parse(z)
}

// Kernel is the kernel that is asked.
type Kernel struct {
	config Config
	probes map[string]func() error
}

// New is a kernel of which only the configuration is known.
func New(c Config) *Kernel { return &Kernel{config: c} }

var running struct {
	sync.Once
	k *Kernel
}

// Running is the kernel that runs this program.
func Running() *Kernel {
	running.Do(func() {
		config, _ := read() // most kernels have none
		running.k = &Kernel{config, probes}
	})
	return running.k
}

// errNotSet is found for symbols that only the configuration tells of.
var errNotSet = errors.New("so says /proc/config.gz")

// Lacks returns why a symbol, which is given without CONFIG_, counts as not set;
// nil if it is set, or if there is no telling.
func (k *Kernel) Lacks(symbol string) error {
	if probe, ok := k.probes[symbol]; ok {
		return probe()
	}
	if k.config != nil && k.config[symbol] == "" {
		return errNotSet
	}
	return nil
}

// Known reports whether Lacks can tell.
func (k *Kernel) Known(symbol string) bool {
	_, probed := k.probes[symbol]
	return probed || k.config != nil
}

// Missing says which of the symbols are not set and how that shows, "" if all
// are set.
func (k *Kernel) Missing(symbols ...string) string {
	var list []string
	for _, s := range symbols {
		if err := k.Lacks(s); err != nil {
			list = append(list, fmt.Sprintf("CONFIG_%s is not set (%v)", s, err))
		}
	}
	return strings.Join(list, ", ")
}
