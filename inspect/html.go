//go:build !guest

package inspect

import (
	"bufio"
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"math"
	"math/bits"
	"path"
	"strings"
)

//go:embed report.html
var pageText string

// HTML writes a report as one page that needs nothing else: no network, no
// script. The report must have been read with all of Options. Strings of the
// image cannot become markup, and control characters show as escapes.
func (r *Report) HTML(w io.Writer) error {
	t, err := template.New("report").Funcs(template.FuncMap{
		"bytes": Bytes, "clean": clean, "join": strings.Join, "exit": exit, "runs": runs, "wide": wide, "zero": zero,
	}).Parse(pageText)
	if err != nil {
		return err
	}
	b := bufio.NewWriter(w)
	if err := t.Execute(b, newHTMLPage(r)); err != nil {
		return err
	}
	return b.Flush()
}

// htmlPage is what the template shows besides the report.
type htmlPage struct {
	*Report
	Title     string
	OwnSpaces string // namespaces
	Tree      []htmlLine
	Spaces    []htmlSpace
	Shared    []htmlShared
	Objects   []htmlObject
	Tables    []htmlTable
}

// htmlLine is a line of the process tree.
type htmlLine struct {
	Prefix        string
	Process       *Process
	Task          *Task // of a thread that does not lead its process
	Mapped, Saved uint64
}

// htmlSpace is an address space.
type htmlSpace struct {
	PID   uint32 // the first process that has it
	PIDs  string
	Open  bool // whether the list of mappings is
	Kinds []Memory
	Rows  []htmlMap
}

// htmlMap is a mapping.
type htmlMap struct {
	*Map
	Gap   string // what lies unmapped in front of it, "" for little or nothing
	Share string // of all that is mapped, by which the strip is divided
	Tag   string // below the strip, "" if there is no room
	Bar   bar
}

// htmlShared is shared memory.
type htmlShared struct {
	*Shared
	What string
}

// htmlObject is a System V object.
type htmlObject struct {
	*Object
	What string
}

// htmlTable is a table of descriptors.
type htmlTable struct {
	PIDs string
	Rows []htmlDescriptor
}

type htmlDescriptor struct {
	*Descriptor
	Note string
}

func newHTMLPage(r *Report) *htmlPage {
	p := &htmlPage{Report: r, Title: fmt.Sprint("image ", r.Image.ID), OwnSpaces: r.ownNamespaces()}
	for i := range r.Processes {
		if r.Processes[i].PID == r.Image.Root {
			p.Title += ": " + clean(r.Processes[i].Comm)
		}
	}
	r.tree(func(prefix string, q *Process, task *Task) {
		l := htmlLine{Prefix: prefix, Process: q, Task: task}
		sum := q.kinds()
		l.Mapped, l.Saved = sum[len(sum)-1].Mapped, sum[len(sum)-1].Saved
		p.Tree = append(p.Tree, l)
	})
	r.groups(func(q *Process) uint32 { return q.MM }, func(q *Process, pids string) {
		s := newSpace(q, pids)
		s.Open = len(p.Spaces) == 0 && len(s.Rows) <= openRows
		p.Spaces = append(p.Spaces, s)
	})
	for i := range r.SharedMemory {
		s := &r.SharedMemory[i]
		p.Shared = append(p.Shared, htmlShared{s, s.what()})
	}
	for i := range r.Objects {
		o := &r.Objects[i]
		p.Objects = append(p.Objects, htmlObject{o, o.what()})
	}
	note := r.notes()
	r.tables(func(pids string, list []Descriptor) {
		t := htmlTable{PIDs: pids}
		for i := range list {
			t.Rows = append(t.Rows, htmlDescriptor{&list[i], note(&list[i])})
		}
		p.Tables = append(p.Tables, t)
	})
	return p
}

// openRows is how many mappings a list has at most that is open from the start.
const openRows = 40

// tagShare is the least share of the strip that has room for a name.
const tagShare = 0.05

// minGap is the least space between mappings that is shown, in bytes.
const minGap = 1 << 20

func newSpace(p *Process, pids string) htmlSpace {
	s := htmlSpace{PID: p.PID, PIDs: pids, Kinds: p.kinds()}
	all := s.Kinds[len(s.Kinds)-1].Mapped
	largest := uint64(0)
	for i := range p.Maps {
		if p.Maps[i].Size > largest {
			largest = p.Maps[i].Size
		}
	}
	end := uint64(0)
	for i := range p.Maps {
		m := &p.Maps[i]
		share := float64(m.Size) / float64(all)
		row := htmlMap{Map: m, Share: fmt.Sprintf("%.6f", share), Bar: newBar(m, largest)}
		if share >= tagShare {
			if row.Tag = path.Base(m.Name); m.Name == "" {
				row.Tag = m.Kind
			}
		}
		if i > 0 && m.start-end >= minGap {
			row.Gap = Bytes(m.start - end)
		}
		end = m.start + m.Size
		s.Rows = append(s.Rows, row)
	}
	return s
}

// bar is the picture of a mapping: its length grows with the logarithm of the
// mapping's size, and within it all is to scale.
type bar struct {
	Length float64 // percent of the longest
	Rest   string  // class of what is not saved
	Held   []cells
	Saved  uint64 // bytes, of shared memory too
	Label  string
}

// cells is a stretch of a bar, in barCells, that is saved to the same degree.
type cells struct {
	From, Length int
	Degree       string // opacity
}

// barCells is how finely a bar is drawn.
const barCells = 512

var rests = []string{fromZero: "zero", fromFile: "file", fromKernel: "kernel"}

var why = []string{fromZero: "zero", fromFile: "in the file", fromKernel: "made by the kernel"}

func newBar(m *Map, largest uint64) bar {
	b := bar{Rest: rests[m.source]}
	for _, e := range m.held {
		b.Saved += e.end - e.start
	}
	switch b.Saved {
	case m.Size:
		b.Label = "all saved"
	case 0:
		b.Label = why[m.source]
	default:
		b.Label = Bytes(b.Saved) + " saved, the rest " + why[m.source]
	}
	b.Length = 100 * math.Max(0.08, math.Log2(float64(m.Size)/minPage)/math.Log2(float64(largest)/minPage))
	degrees := make([]uint64, barCells) // bytes of each that are saved
	for _, e := range m.held {
		for at := e.start; at < e.end; {
			c := cellOf(at, m.Size)
			next := e.end
			if c < barCells-1 {
				if n := cellStart(c+1, m.Size); n < next {
					next = n
				}
			}
			degrees[c] += next - at
			at = next
		}
	}
	for c := 0; c < barCells; {
		d := degree(degrees[c], cellSize(c, m.Size))
		first := c
		for c++; c < barCells && degree(degrees[c], cellSize(c, m.Size)) == d; {
			c++
		}
		if d > 0 {
			b.Held = append(b.Held, cells{first, c - first, fmt.Sprintf("%.2g", float64(d)/4)})
		}
	}
	return b
}

// minPage is less than the smallest mapping, in bytes.
const minPage = 512

// cellStart is where a cell of a bar begins, in bytes.
func cellStart(c int, size uint64) uint64 {
	hi, lo := bits.Mul64(uint64(c), size)
	q, r := bits.Div64(hi, lo, barCells)
	if r > 0 {
		q++
	}
	return q
}

func cellOf(at, size uint64) int {
	hi, lo := bits.Mul64(at, barCells)
	q, _ := bits.Div64(hi, lo, size)
	return int(q)
}

func cellSize(c int, size uint64) uint64 { return cellStart(c+1, size) - cellStart(c, size) }

// degree is how much of a cell is saved, in quarters; not 0 for little.
func degree(part, all uint64) int {
	if part == 0 || all == 0 {
		return 0
	}
	return int(math.Ceil(4 * float64(part) / float64(all)))
}

func runs(s Set) [][]Register { return s.runs() }

// wide is the width of the columns that show registers, in characters.
func wide(regs []Register) int {
	name := 0
	for _, r := range regs {
		if len(r.Name) > name {
			name = len(r.Name)
		}
	}
	return name + 1 + len(regs[0].Value)
}

func zero(r Register) bool { return strings.Trim(r.Value, "0") == "" }
