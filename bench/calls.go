package main

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
)

// calls measures what cr run costs programs that do not use the two calls: the
// time of one getpid and one preadv, in ns.
func (b *bench) calls(short bool) error {
	const count = 20000 // little enough for some runs to be undisturbed
	rounds := 50
	if short {
		rounds = 10
	}
	program := []string{b.target, "calls", strconv.Itoa(count)}
	var plain, under [2]float64
	for i := 0; i < rounds; i++ {
		for _, way := range []struct {
			command []string
			least   *[2]float64
		}{{program, &plain}, {append([]string{b.cr, "run", "--"}, program...), &under}} {
			now, err := numbers(way.command...)
			if err != nil {
				return err
			}
			for k := range now {
				if i == 0 || now[k] < way.least[k] {
					way.least[k] = now[k]
				}
			}
		}
	}
	t := newTable("one system call, minimum in ns", "plain", "under cr run", "ratio")
	for k, name := range []string{"getpid", "preadv, 16 bytes"} {
		t.row(name, fmt.Sprintf("%.0f", plain[k]), fmt.Sprintf("%.0f", under[k]), fmt.Sprintf("%.2f", under[k]/plain[k]))
	}
	t.print()
	return nil
}

// numbers runs a command that prints numbers, in nanoseconds.
func numbers(command ...string) (ns []float64, err error) {
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", strings.Join(command, " "), err)
	}
	for _, f := range strings.Fields(string(out)) {
		n, err := strconv.ParseFloat(f, 64)
		if err != nil {
			return nil, fmt.Errorf("%s: it printed %q", strings.Join(command, " "), out)
		}
		ns = append(ns, n)
	}
	return ns, nil
}
