// Command matrix makes of the results of tests the tables of docs/moving.md and
// of the README: which registers of which machine come back from a restart
// there, and on which other machines.
//
//	go test -json ./vmtests | go run ./vmtests/matrix [FILE...]
//
// It reads the output of go test -json, that of several runs one after the
// other too: the last result of a test counts. With files, the tables replace
// those in them: all of them between the lines <!-- matrix --> and <!-- end of
// matrix -->, those of machines by themselves behind <!-- matrix of machines -->.
package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "matrix: %v\n", err)
		os.Exit(1)
	}
}

func run(files []string) error {
	results, err := read(os.Stdin)
	if err != nil {
		return err
	}
	if len(files) == 0 {
		writeAll(os.Stdout, results)
	}
	for _, file := range files {
		old, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		text, err := replace(old, results)
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		if err := os.WriteFile(file, text, 0o644); err != nil {
			return err
		}
	}
	return nil
}

const end = "<!-- end of matrix -->\n"

// marks are the lines behind which tables come, and which.
var marks = []struct {
	begin string
	write func(io.Writer, *results)
}{
	{"<!-- matrix -->\n", writeAll},
	{"<!-- matrix of machines -->\n", writeMachines},
}

// replace puts tables between the two lines of a text.
func replace(text []byte, all *results) ([]byte, error) {
	for _, m := range marks {
		before, rest, ok := bytes.Cut(text, []byte(m.begin))
		_, after, ended := bytes.Cut(rest, []byte(end))
		if ok && ended {
			var tables bytes.Buffer
			m.write(&tables, all)
			return bytes.Join([][]byte{before, []byte(m.begin), tables.Bytes(), []byte(end), after}, nil), nil
		}
	}
	return nil, errors.New("there are no marks of the matrix in it")
}
