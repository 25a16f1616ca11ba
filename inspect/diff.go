package inspect

import (
	"bufio"
	"fmt"
	"io"
	"sort"
	"strings"

	"cr/image"
)

// Difference is one thing that two images do not agree on. A is what the first
// says and B the second; one that has no such thing says "".
type Difference struct {
	PID  uint32 `json:"pid"`  // 0 for the image as a whole
	TID  uint32 `json:"tid"`  // 0 for what tasks share
	What string `json:"what"` // image, namespace, System V, process, task, register, mapping, memory, descriptor
	Name string `json:"name"`
	A    string `json:"a"`
	B    string `json:"b"`
}

// Diff compares two images: registers, mappings, contents of memory,
// descriptors. Processes and tasks that have the same number are compared with
// each other. It reads both to their ends. When and under which identifier they
// were made is no difference.
func Diff(a, b io.Reader) ([]Difference, error) {
	var sides [2]*side
	for i, r := range []io.Reader{a, b} {
		s, err := readSide(r)
		if err != nil {
			return nil, fmt.Errorf("%s image: %w", []string{"first", "second"}[i], err)
		}
		sides[i] = s
	}
	d := &differ{a: sides[0], b: sides[1]}
	d.all()
	return d.list, nil
}

// differ collects differences.
type differ struct {
	a, b     *side
	pid, tid uint32
	list     []Difference
}

func (d *differ) note(what, name, a, b string) {
	if a != b {
		d.list = append(d.list, Difference{d.pid, d.tid, what, name, a, b})
	}
}

func (d *differ) all() {
	a, b := &d.a.report.Image, &d.b.report.Image
	d.note("image", "abi", a.ABI, b.ABI)
	d.note("image", "kernel", a.Release, b.Release)
	d.note("image", "page size", fmt.Sprint(a.PageSize), fmt.Sprint(b.PageSize))
	d.keyed("namespace", namespaceNames(d.a.report.Namespaces), namespaceNames(d.b.report.Namespaces))
	d.keyed("System V", objectNames(d.a.report.Objects), objectNames(d.b.report.Objects))
	other := make(map[uint32]*Process)
	for i := range d.b.report.Processes {
		other[d.b.report.Processes[i].PID] = &d.b.report.Processes[i]
	}
	for i := range d.a.report.Processes {
		p := &d.a.report.Processes[i]
		d.pid = p.PID
		if q := other[p.PID]; q != nil {
			d.process(p, q)
		} else {
			d.note("process", "", p.Comm, "")
		}
		delete(other, p.PID)
	}
	for i := range d.b.report.Processes {
		if p := &d.b.report.Processes[i]; other[p.PID] != nil {
			d.pid = p.PID
			d.note("process", "", "", p.Comm)
		}
	}
}

func (d *differ) process(a, b *Process) {
	for _, f := range []struct{ name, a, b string }{
		{"name", a.Comm, b.Comm},
		{"state", a.State, b.State},
		{"exit status", fmt.Sprint(a.ExitStatus), fmt.Sprint(b.ExitStatus)},
		{"parent", fmt.Sprint(a.PPID), fmt.Sprint(b.PPID)},
		{"process group", fmt.Sprint(a.PGID), fmt.Sprint(b.PGID)},
		{"session", fmt.Sprint(a.SID), fmt.Sprint(b.SID)},
		{"program", a.Exe, b.Exe},
		{"working directory", a.Cwd, b.Cwd},
		{"root directory", a.Root, b.Root},
		{"user", fmt.Sprint(a.UID), fmt.Sprint(b.UID)},
		{"group", fmt.Sprint(a.GID), fmt.Sprint(b.GID)},
	} {
		d.note("process", f.name, f.a, f.b)
	}
	d.tasks(a.Tasks, b.Tasks)
	d.keyed("mapping", mapNames(a.Maps), mapNames(b.Maps))
	if d.a.report.Image.PageSize == d.b.report.Image.PageSize && a.MM != 0 && b.MM != 0 {
		d.memory(d.a.m.MM(a.MM), d.b.m.MM(b.MM))
	}
	d.keyed("descriptor", fdNames(a.Descriptors), fdNames(b.Descriptors))
}

func (d *differ) tasks(a, b []Task) {
	other := make(map[uint32]*Task)
	for i := range b {
		other[b[i].TID] = &b[i]
	}
	for i := range a {
		d.tid = a[i].TID
		t := other[d.tid]
		delete(other, d.tid)
		if t == nil {
			d.note("task", "", a[i].Comm, "")
			continue
		}
		d.note("task", "name", a[i].Comm, t.Comm)
		d.note("task", "abi", a[i].ABI, t.ABI)
		d.keyed("register", regNames(&a[i]), regNames(t))
		d.note("task", "working directory", a[i].Cwd, t.Cwd)
		d.note("task", "root directory", a[i].Root, t.Root)
		d.keyed("descriptor", fdNames(a[i].Descriptors), fdNames(t.Descriptors))
	}
	for i := range b {
		if d.tid = b[i].TID; other[d.tid] != nil {
			d.note("task", "", "", b[i].Comm)
		}
	}
	d.tid = 0
}

// keyed is a name and what is said of it.
type keyed struct{ key, value string }

// keyed compares lists by their keys, in the order of the first.
func (d *differ) keyed(what string, a, b []keyed) {
	other := make(map[string]string, len(b))
	for _, k := range b {
		other[k.key] = k.value
	}
	here := make(map[string]bool, len(a))
	for _, k := range a {
		here[k.key] = true
		d.note(what, k.key, k.value, other[k.key])
	}
	for _, k := range b {
		if !here[k.key] {
			d.note(what, k.key, "", k.value)
		}
	}
}

func mapNames(list []Map) []keyed {
	var out []keyed
	for _, m := range list {
		name := m.Name
		if name == "" {
			name = m.Kind
		}
		value := fmt.Sprintf("to %s %s %x %s", m.End[2:], m.Perms, m.Offset, name)
		if m.Flags != "" {
			value += " (" + m.Flags + ")"
		}
		out = append(out, keyed{m.Start[2:], value})
	}
	return out
}

func fdNames(list []Descriptor) []keyed {
	var out []keyed
	for _, f := range list {
		value := fmt.Sprintf("%s %s %s at %d", f.Access, f.Kind, f.Path, f.Pos)
		if f.CloExec {
			value += " (close on exec)"
		}
		out = append(out, keyed{fmt.Sprint(f.FD), value})
	}
	return out
}

func regNames(t *Task) []keyed {
	var out []keyed
	for _, s := range t.Sets {
		if len(s.Regs) == 0 {
			out = append(out, keyed{s.Name, fmt.Sprint(s.Bytes, " bytes")})
		}
		for _, r := range s.Regs {
			out = append(out, keyed{s.Name + " " + r.Name, r.Value})
		}
	}
	return out
}

// memory compares the contents of what both have mapped at an address.
func (d *differ) memory(a, b *image.MM) {
	page := uint64(d.a.m.Header.PageSize)
	for i := range a.VMAs {
		v := &a.VMAs[i]
		b.Overlaps(v.Start, v.End, func(j int, start, end uint64) {
			changed := changedPages(d.a.part(a, v, start, end), d.b.part(b, &b.VMAs[j], start, end))
			if len(changed) == 0 {
				return
			}
			name := fmt.Sprintf("%x-%x", start, end)
			if v.Name != "" {
				name += " " + v.Name
			}
			d.note("memory", name, "", fmt.Sprintf("%d of %d pages differ: %s", len(changed), (end-start)/page, ranges(changed, page)))
		})
	}
}

// maxRanges is how many ranges of pages are listed of one mapping.
const maxRanges = 8

// ranges lists pages as ranges of addresses.
func ranges(pages []uint64, size uint64) string {
	var list []string
	n := 0
	for i := 0; i < len(pages); n++ {
		first := pages[i]
		for i++; i < len(pages) && pages[i] == pages[i-1]+size; {
			i++
		}
		if n < maxRanges {
			list = append(list, fmt.Sprintf("%x-%x", first, pages[i-1]+size))
		}
	}
	if n > maxRanges {
		list = append(list, fmt.Sprintf("and %d more ranges", n-maxRanges))
	}
	return strings.Join(list, ", ")
}

// changedPages lists the addresses of pages that two parts do not agree on. What
// neither image has is taken for the same.
func changedPages(a, b part) []uint64 {
	var out []uint64
	for len(a.pages) > 0 || len(b.pages) > 0 {
		switch {
		case len(b.pages) == 0 || len(a.pages) > 0 && a.addr() < b.addr():
			if !b.zero || a.pages[0].sum != b.zeroSum {
				out = append(out, a.addr())
			}
			a.pages = a.pages[1:]
		case len(a.pages) == 0 || b.addr() < a.addr():
			if !a.zero || b.pages[0].sum != a.zeroSum {
				out = append(out, b.addr())
			}
			b.pages = b.pages[1:]
		default:
			if a.pages[0].sum != b.pages[0].sum {
				out = append(out, a.addr())
			}
			a.pages, b.pages = a.pages[1:], b.pages[1:]
		}
	}
	return out
}

// WriteDiff writes differences for people.
func WriteDiff(w io.Writer, list []Difference, style Style) error {
	t := &text{Writer: bufio.NewWriter(w), Style: style}
	pid, tid := uint32(0), uint32(0)
	sort.SliceStable(list, func(i, j int) bool { return list[i].PID < list[j].PID })
	for _, d := range list {
		if d.PID != pid {
			t.printf("%s\n", t.bold(fmt.Sprint("process ", d.PID)))
			pid, tid = d.PID, 0
		}
		indent := ""
		if d.PID != 0 {
			indent = "  "
		}
		if d.TID != 0 {
			if d.TID != tid {
				t.printf("  %s\n", t.bold(fmt.Sprint("task ", d.TID)))
			}
			indent += "  "
		}
		tid = d.TID
		what := clean(strings.TrimSpace(d.What + " " + d.Name))
		switch {
		case d.What == "memory":
			t.printf("%s%s: %s\n", indent, what, d.B)
		case d.A == "":
			t.printf("%s%s\n", indent, t.sgr("32", "+ "+what+": "+clean(d.B)))
		case d.B == "":
			t.printf("%s%s\n", indent, t.sgr("31", "- "+what+": "+clean(d.A)))
		case len(d.A)+len(d.B)+len(what) > t.Width-10 && t.Width > 0:
			t.printf("%s%s:\n%s  %s\n%s  %s\n", indent, what, indent, t.sgr("31", "- "+clean(d.A)), indent, t.sgr("32", "+ "+clean(d.B)))
		default:
			t.printf("%s%s: %s -> %s\n", indent, what, t.sgr("31", clean(d.A)), t.sgr("32", clean(d.B)))
		}
	}
	return t.Flush()
}
