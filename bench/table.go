package main

import (
	"fmt"
	"os"
	"text/tabwriter"
)

// table is printed with its columns aligned.
type table struct{ w *tabwriter.Writer }

func newTable(name string, columns ...string) *table {
	t := &table{tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)}
	fmt.Println()
	t.row(name, columns...)
	return t
}

func (t *table) row(name string, cells ...string) {
	fmt.Fprint(t.w, name)
	for _, c := range cells {
		fmt.Fprint(t.w, "\t", c)
	}
	fmt.Fprintln(t.w)
}

func (t *table) print() { t.w.Flush() }
