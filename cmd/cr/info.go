package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"cr/inspect"
)

var infoCommand = &command{
	name:  "info",
	args:  "[OPTION ...] [IMAGE]",
	short: "show what an image holds",
	long: "Reads an image, from standard input if none is named, checks all of it, and shows\n" +
		"its processes, memory and descriptors. Images of all machines can be read on any\n" +
		"machine. Bytes that --hexdump shows as dots are in a file, not in the image.",
	examples: []string{
		"cr info image",
		"cr info --regs --maps --pid 1234 image",
		"cr info --hexdump 0x7ffe0000,64 image",
		"cr info --html image >image.html",
		"cr checkpoint 1234 | cr info --json | jq .image.features",
	},
	setup: func(flags *pflag.FlagSet) func([]string) (int, error) {
		var o inspect.Options
		asJSON := flags.Bool("json", false, "write JSON (docs/info-json.md)")
		asHTML := new(bool)
		if writeHTML != nil {
			asHTML = flags.Bool("html", false, "write a page for a browser, with all there is to show")
		}
		flags.BoolVar(&o.Regs, "regs", false, "show registers by name")
		flags.BoolVar(&o.Maps, "maps", false, "show mappings")
		flags.Uint32Var(&o.PID, "pid", 0, "show only the process `PID`; with --hexdump, the root by default")
		hex := flags.String("hexdump", "", "show memory at `ADDR[,LEN]` and nothing else; LEN is 256 by default")
		return func(args []string) (int, error) {
			if len(args) > 1 {
				return 0, usageError("give one image")
			}
			if *asHTML && *asJSON || *hex != "" && (*asHTML || *asJSON) {
				return 0, usageError("--html, --json and --hexdump exclude each other")
			}
			if *hex != "" {
				var err error
				if o.HexAddr, o.HexLen, err = parseRange(*hex); err != nil {
					return 0, usageError(err.Error())
				}
			}
			if *asHTML {
				o.Regs, o.Maps, o.Places = true, true, true
			}
			in, err := openImage(args)
			if err != nil {
				return 0, err
			}
			defer in.Close()
			r, err := inspect.Read(in, o)
			if err != nil {
				return 0, fmt.Errorf("%s: %w", in.Name(), err)
			}
			switch {
			case *asHTML:
				return 0, writeHTML(r, os.Stdout)
			case *asJSON:
				return 0, writeJSON(os.Stdout, r)
			}
			return 0, r.Text(os.Stdout, style(os.Stdout))
		}
	},
}

// openImage opens the image that the arguments name, standard input if they
// name none.
func openImage(args []string) (*os.File, error) {
	if len(args) > 0 && args[0] != "-" {
		return os.Open(args[0])
	}
	if isTerminal(os.Stdin) {
		return nil, usageError("name a file, or send an image to standard input")
	}
	return os.Stdin, nil
}

// parseRange reads ADDR[,LEN]. Numbers are hexadecimal with 0x, or decimal.
func parseRange(s string) (addr, length uint64, err error) {
	first, second, both := strings.Cut(s, ",")
	length = 256
	if addr, err = strconv.ParseUint(first, 0, 64); err == nil && both {
		length, err = strconv.ParseUint(second, 0, 64)
	}
	if err != nil || length == 0 {
		return 0, 0, fmt.Errorf("%q is not ADDR[,LEN]", s)
	}
	return addr, length, nil
}

func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// style is how text looks on a file: coloured only on a terminal, and not where
// NO_COLOR is set (no-color.org).
func style(f *os.File) inspect.Style {
	s := inspect.Style{Width: 100}
	if isTerminal(f) {
		s.Colour = os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
		if size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ); err == nil && size.Col > 0 {
			s.Width = int(size.Col)
		}
	}
	return s
}
