package main

import (
	"cmp"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"cr/vmtests"
)

// refusedMark is how a test of a move says why an image was refused, as it must
// be.
const refusedMark = "refused: "

// shorter leaves out of reasons what differs from run to run and from machine to
// machine.
var shorter = []struct {
	re *regexp.Regexp
	by string
}{
	{regexp.MustCompile(` at 0x[0-9a-f]+-0x[0-9a-f]+`), " too high"},
	{regexp.MustCompile(`^CONFIG_\w+ is not set \(so says [^)]*\): `), ""},
	{regexp.MustCompile(`^AT_HWCAP2? 0x[0-9a-f]+ has no `), "the CPU has no "},
	{regexp.MustCompile(`^/proc/cpuinfo has no flag `), "the CPU, or the kernel, has no "},
}

// table has a row for each machine, or move, and ABI, a column for each
// register set, and in each cell the results of both modes.
type table struct {
	rows, columns []string
	last          map[string]string                // column that was added to a row
	cells         map[[2]string]map[string]*result // by row and column, then by mode
}

func (t *table) add(row, column, mode string, r *result) {
	if !slices.Contains(t.rows, row) {
		t.rows = append(t.rows, row)
	}
	if !slices.Contains(t.columns, column) {
		// Where the row has it, whichever row came first.
		at := len(t.columns)
		if before, ok := t.last[row]; ok {
			at = slices.Index(t.columns, before) + 1
		}
		t.columns = slices.Insert(t.columns, at, column)
	}
	if t.last == nil {
		t.last = make(map[string]string)
	}
	t.last[row] = column
	key := [2]string{row, column}
	if t.cells == nil {
		t.cells = make(map[[2]string]map[string]*result)
	}
	if t.cells[key] == nil {
		t.cells[key] = make(map[string]*result)
	}
	t.cells[key][mode] = r
}

// families are the tables of one kind of test.
type families struct{ powerpc, x86 table }

func (f *families) of(abi string) *table {
	if strings.HasPrefix(abi, "ppc") {
		return &f.powerpc
	}
	return &f.x86
}

func (f *families) write(w io.Writer) {
	f.powerpc.write(w)
	f.x86.write(w)
}

// whole are the tests whose subtests are lines of a table of their own.
var whole = []string{"TestWordSize", "TestClock", "TestThereAndBack", "TestRunLow", "TestHWCAP", "TestPrograms", "TestSysV"}

// spaces undoes what go test does to the names of moves.
var spaces = strings.NewReplacer("_to_", " to ", "_and_back", " and back")

// sorted are all results, by kind of test.
type sorted struct {
	same, other families
	rest        []string
}

func sort(all *results) *sorted {
	var s sorted
	for _, name := range all.names {
		part := strings.Split(name, "/")
		r := all.of[name]
		switch {
		case part[0] == "TestGuest" && len(part) == 4:
			class, abi := vmtests.OwnABI(part[1], part[2])
			if mode := modeOf(part[3]); mode != "" {
				s.same.of(abi).add(part[1]+", "+abi, class, mode, r)
			}
		case (part[0] == "TestMove" || part[0] == "TestMoveBack") && len(part) == 4:
			class, abi, _ := strings.Cut(part[2], "-")
			s.other.of(abi).add(spaces.Replace(part[1])+", "+abi, class, part[3], r)
		case slices.Contains(whole, part[0]) && len(part) > 1:
			s.rest = append(s.rest, name)
		}
	}
	return &s
}

// writeMachines writes the tables of machines by themselves.
func writeMachines(w io.Writer, all *results) {
	sort(all).same.write(w)
}

// writeAll writes all tables.
func writeAll(w io.Writer, all *results) {
	fmt.Fprint(w, "\n#### The same machine\n")
	s := sort(all)
	s.same.write(w)
	fmt.Fprint(w, "\n#### Another machine\n")
	s.other.write(w)
	if len(s.rest) == 0 {
		return
	}
	fmt.Fprint(w, "\n#### Whole programs\n\n| test | |\n|---|---|\n")
	for _, name := range s.rest {
		r := all.of[name]
		fmt.Fprintf(w, "| %s | %s |\n", strings.ReplaceAll(name, "_", " "), strings.TrimSuffix(words[r.outcome]+", "+strings.Join(r.said, "; "), ", "))
	}
}

// words are the outcomes as the tables call them.
var words = map[string]string{"pass": "yes", "fail": "**fails**", "skip": "left out"}

// modeOf is the mode of a test of registers, "" for other tests. Breakpoints
// are set from outside.
func modeOf(test string) string {
	switch test {
	case "self", "external":
		return test
	case "write", "execute":
		return "external, " + test
	}
	return ""
}

// write writes a table, and below it a list of the reasons in it.
func (t *table) write(w io.Writer) {
	if len(t.rows) == 0 {
		return
	}
	fmt.Fprintf(w, "\n| | %s |\n|---|%s\n", strings.Join(t.columns, " | "), strings.Repeat("---|", len(t.columns)))
	slices.SortStableFunc(t.rows, func(a, b string) int { return cmp.Compare(place(a), place(b)) })
	var notes []string
	for _, row := range t.rows {
		fmt.Fprintf(w, "| %s |", row)
		for _, column := range t.columns {
			fmt.Fprintf(w, " %s |", cell(t.cells[[2]string{row, column}], &notes))
		}
		fmt.Fprintln(w)
	}
	if len(notes) > 0 {
		fmt.Fprintln(w)
	}
	for i, note := range notes {
		fmt.Fprintf(w, "%d. %s\n", i+1, note)
	}
}

// place is that of a row's guest, or of the first, in the list of guests.
func place(row string) int {
	name, _, _ := strings.Cut(row, ",")
	name, _, _ = strings.Cut(name, " to ")
	return slices.IndexFunc(vmtests.Guests, func(g vmtests.Guest) bool { return g.Name == name })
}

// cell tells the results of both modes in one word if they are the same.
func cell(modes map[string]*result, notes *[]string) string {
	if len(modes) == 0 {
		return ""
	}
	var names []string
	for mode := range modes {
		names = append(names, mode)
	}
	slices.Sort(names)
	slices.Reverse(names) // self first
	var parts []string
	same := true
	for _, mode := range names {
		parts = append(parts, verdict(modes[mode], notes))
		same = same && parts[len(parts)-1] == parts[0]
	}
	if same {
		return parts[0]
	}
	for i, mode := range names {
		parts[i] = mode + ": " + parts[i]
	}
	return strings.Join(parts, ", ")
}

// verdict is one result, with the number of the note that gives the reason.
func verdict(r *result, notes *[]string) string {
	if r.outcome == "fail" {
		return words[r.outcome]
	}
	for _, said := range r.said {
		reason, no := strings.CutPrefix(said, refusedMark)
		if no || r.outcome == "skip" {
			word := "no"
			if r.outcome == "skip" {
				word = ""
			}
			for _, s := range shorter {
				reason = s.re.ReplaceAllString(reason, s.by)
			}
			return strings.TrimSpace(fmt.Sprintf("%s (%d)", word, note(notes, reason)))
		}
	}
	return words[r.outcome]
}

// note is the number of a note.
func note(notes *[]string, text string) int {
	i := slices.Index(*notes, text)
	if i < 0 {
		i = len(*notes)
		*notes = append(*notes, text)
	}
	return i + 1
}
