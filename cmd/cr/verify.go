package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/pflag"

	"cr/convert"
	"cr/image"
)

// Exit statuses of verify and rewrite.
const (
	refused  = 1 // the machine cannot take the image
	badImage = 2
)

var verifyCommand = &command{
	name:  "verify",
	args:  "[OPTION ...] [IMAGE]",
	short: "tell whether an image would restart on a machine",
	long: "Reads all of an image, from standard input if none is named, and compares it\n" +
		"with this machine, or with the one that FILE describes. It writes one line for\n" +
		"each reason why the image would not restart there. Warnings on standard error\n" +
		"tell of features that the programs know of and may use, but have not yet.\n" +
		"What depends on files and privileges only a restart can tell.\n\n" +
		"It exits with 0 if the image would restart, 1 if not, 2 if it is no whole and\n" +
		"valid image, 125 if cr itself fails.",
	examples: []string{
		"cr verify image",
		"cr verify --on oldbox.json image",
		"cr checkpoint 1234 | cr verify",
	},
	setup: func(flags *pflag.FlagSet) func([]string) (int, error) {
		on := flags.String("on", "", "the machine that `FILE` describes (cr features --json)")
		strict := flags.Bool("strict", false, "take warnings for reasons")
		return func(args []string) (int, error) {
			if len(args) > 1 {
				return 0, usageError("give one image")
			}
			m, err := machineFrom(*on)
			if err != nil {
				return 0, err
			}
			in, err := openImage(args)
			if err != nil {
				return 0, err
			}
			defer in.Close()
			img, err := readAll(in)
			if err != nil {
				return spoilt("verify", in.Name(), err)
			}
			reasons, warnings := convert.Check(m, img), convert.Warnings(m, img)
			if *strict {
				reasons, warnings = append(reasons, warnings...), nil
			}
			for _, r := range reasons {
				fmt.Println(r)
			}
			for _, r := range warnings {
				fmt.Fprintf(os.Stderr, "cr verify: warning: %v\n", r)
			}
			if len(reasons) > 0 {
				return refused, nil
			}
			return 0, nil
		}
	},
}

// readAll reads an image to its end, and so checks all of it.
func readAll(r io.Reader) (*image.Image, error) {
	img, rd, err := image.Read(r)
	for err == nil {
		_, err = rd.Next()
	}
	if !errors.Is(err, io.EOF) {
		return nil, err
	}
	return img, nil
}

// spoilt says that an image cannot be read: the status of a bad image, or the
// error if it is not the image's fault.
func spoilt(command, file string, err error) (int, error) {
	err = fmt.Errorf("%s: %w", file, err)
	if !errors.Is(err, image.ErrFormat) {
		return 0, err
	}
	fmt.Fprintf(os.Stderr, "cr %s: %v\n", command, err)
	return badImage, nil
}
