// Command matrix makes of the results of tests the tables of docs/moving.md:
// which registers of which machine come back from a restart there, and on
// which other machines.
//
//	go test -json ./vmtests | go run ./vmtests/matrix
//
// It reads the output of go test -json, that of several runs one after the
// other too: the last result of a test counts. With -o the tables replace those
// in a file, between the lines <!-- matrix --> and <!-- end of matrix -->.
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
)

func main() {
	file := flag.String("o", "", "replace the tables in `FILE`")
	flag.Parse()
	if err := run(*file); err != nil {
		fmt.Fprintf(os.Stderr, "matrix: %v\n", err)
		os.Exit(1)
	}
}

func run(file string) error {
	results, err := read(os.Stdin)
	if err != nil {
		return err
	}
	var out bytes.Buffer
	write(&out, results)
	if file == "" {
		_, err := os.Stdout.Write(out.Bytes())
		return err
	}
	old, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	text, err := replace(old, out.Bytes())
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return os.WriteFile(file, text, 0o644)
}

const begin, end = "<!-- matrix -->\n", "<!-- end of matrix -->\n"

// replace puts tables between the two lines of a text.
func replace(text, tables []byte) ([]byte, error) {
	before, rest, ok := bytes.Cut(text, []byte(begin))
	_, after, ok2 := bytes.Cut(rest, []byte(end))
	if !ok || !ok2 {
		return nil, errors.New("there are no marks of the matrix in it")
	}
	return bytes.Join([][]byte{before, []byte(begin), tables, []byte(end), after}, nil), nil
}
