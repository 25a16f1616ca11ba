package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/pflag"

	"cr/convert"
	"cr/image"
)

var rewriteCommand = &command{
	name:  "rewrite",
	args:  "--to FILE IMAGE OUT",
	short: "make an image fit another machine",
	long: "Writes to OUT the image as the machine that FILE describes would have made it:\n" +
		"register sets that it has no registers for are dropped if they are not in use,\n" +
		"the others get the sizes and places that they have there, and the header names\n" +
		"the machine and its kernel. Memory stays as it is. IMAGE and OUT can be - for\n" +
		"standard input and output.\n\n" +
		"Restart does all that by itself; a rewritten image is for those who want to\n" +
		"know beforehand, or to read it with the tools of the other machine.\n\n" +
		"It exits with 0 if OUT is written, 1 if the machine cannot take the image, with\n" +
		"the reasons on standard error, 2 if IMAGE is no whole and valid image, 125 if cr\n" +
		"itself fails.",
	examples: []string{
		"cr rewrite --to oldbox.json image image.oldbox",
		"cr checkpoint 1234 | cr rewrite --to oldbox.json - - | ssh oldbox cr restart",
	},
	setup: func(flags *pflag.FlagSet) func([]string) (int, error) {
		to := flags.String("to", "", "the machine that `FILE` describes (cr features --json)")
		return func(args []string) (int, error) {
			if len(args) != 2 || *to == "" {
				return 0, usageError("give a machine, an image, and where to write")
			}
			return rewrite(*to, args[0], args[1])
		}
	},
}

func rewrite(to, file, output string) (int, error) {
	m, err := machineFrom(to)
	if err != nil {
		return 0, err
	}
	in, err := openImage([]string{file})
	if err != nil {
		return 0, err
	}
	defer in.Close()
	img, rd, err := image.Read(in)
	if err != nil {
		return spoilt("rewrite", in.Name(), err)
	}
	if reasons := convert.Check(m, img); len(reasons) > 0 {
		for _, r := range reasons {
			fmt.Fprintf(os.Stderr, "cr rewrite: %s: %v\n", in.Name(), r)
		}
		return refused, nil
	}
	err = writeFile(output, func(w *os.File) error { return convert.Rewrite(m, img, rd, w) })
	if errors.Is(err, image.ErrFormat) {
		return spoilt("rewrite", in.Name(), err)
	}
	return 0, err
}

// writeFile writes a file that only its owner can read. It appears when it is
// complete, so that it may have the name of a file that is read meanwhile. What
// exists and is no regular file, a pipe for one, is written to directly, and - is
// standard output.
func writeFile(name string, write func(*os.File) error) (err error) {
	if name == "-" {
		if isTerminal(os.Stdout) {
			return errors.New("the image is no text: send it to a file or a pipe")
		}
		return write(os.Stdout)
	}
	if st, err := os.Stat(name); err == nil && !st.Mode().IsRegular() {
		f, err := os.OpenFile(name, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		defer f.Close()
		return write(f)
	}
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+"-*")
	if err != nil {
		return err
	}
	err = write(f)
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		return removed(f.Name(), err)
	}
	return nil
}
