package main

import (
	"fmt"
	"os"

	"github.com/spf13/pflag"

	"cr/inspect"
)

var diffCommand = &command{
	name:  "diff",
	args:  "[OPTION ...] IMAGE IMAGE",
	short: "compare two images",
	long: "Shows in what two images differ: processes, registers, mappings, pages,\n" +
		"descriptors. The exit status is 0 if they do not differ, 1 if they do. One of the\n" +
		"two can be - for standard input.",
	examples: []string{
		"cr diff before after",
		"cr checkpoint 1234 | cr diff before -",
	},
	setup: func(flags *pflag.FlagSet) func([]string) (int, error) {
		asJSON := flags.Bool("json", false, "write JSON (docs/info-json.md)")
		return func(args []string) (int, error) {
			if len(args) != 2 {
				return 0, usageError("give two images")
			}
			if args[0] == "-" && args[1] == "-" {
				return 0, usageError("only one image can be standard input")
			}
			a, err := openImage(args[:1])
			if err != nil {
				return 0, err
			}
			defer a.Close()
			b, err := openImage(args[1:])
			if err != nil {
				return 0, err
			}
			defer b.Close()
			list, err := inspect.Diff(a, b)
			if err != nil {
				return 0, fmt.Errorf("%s, %s: %w", a.Name(), b.Name(), err)
			}
			if *asJSON {
				err = writeJSON(os.Stdout, append([]inspect.Difference{}, list...))
			} else {
				err = inspect.WriteDiff(os.Stdout, list, style(os.Stdout))
			}
			if len(list) > 0 {
				return 1, err
			}
			return 0, err
		}
	},
}
