package inspect

import (
	"bufio"
	"fmt"
	"io"
	"strings"
)

// Style says how text looks.
type Style struct {
	Colour bool
	Width  int // columns
}

// text writes a report for people.
type text struct {
	*bufio.Writer
	Style
	r *Report
}

func (t *text) printf(format string, args ...any) { fmt.Fprintf(t, format, args...) }

func (t *text) bold(s string) string { return t.sgr("1", s) }
func (t *text) dim(s string) string  { return t.sgr("2", s) }

// sgr colours text (ECMA-48, select graphic rendition).
func (t *text) sgr(code, s string) string {
	if !t.Colour {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

// Text writes a report for people. Strings of the image cannot send control
// characters to a terminal.
func (r *Report) Text(w io.Writer, style Style) error {
	if style.Width <= 0 {
		style.Width = 80
	}
	t := &text{bufio.NewWriter(w), style, r}
	if r.hex != nil {
		t.hexdump(r.hex)
		return t.Flush()
	}
	t.header()
	t.namespaces()
	t.tree()
	t.memory()
	t.shared()
	t.objects()
	t.descriptors()
	t.registers()
	return t.Flush()
}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprint(n, " ", many)
}

// Bytes is a size for people.
func Bytes(n uint64) string {
	if n < 1<<10 {
		return fmt.Sprintf("%d B", n)
	}
	unit, v := 0, float64(n)
	for v >= 1024 {
		v /= 1024
		unit++
	}
	digits := fmt.Sprintf("%.1f", v)
	if v >= 100 {
		digits = fmt.Sprintf("%.0f", v)
	}
	return strings.TrimSuffix(digits, ".0") + " " + "KMGTPE"[unit-1:unit] + "iB"
}

// clean is text of the image as it may be shown on a terminal.
func clean(s string) string {
	q := fmt.Sprintf("%q", s)
	return strings.Replace(q[1:len(q)-1], `\"`, `"`, -1)
}

func (t *text) header() {
	i := &t.r.Image
	t.printf("%s of %s, %s\n", t.bold(fmt.Sprint("image ", i.ID)),
		plural(i.Processes, "process", "processes"), plural(i.Tasks, "task", "tasks"))
	t.printf("from %s, %s, Linux %s, %s, by %s\n", clean(i.Hostname), i.ABI, clean(i.Release),
		i.Time.Format("2006-01-02 15:04:05 MST"), clean(i.Creator))
	t.printf("%s with %s of memory in pages of %s\n", Bytes(uint64(i.Size)), Bytes(i.Saved), Bytes(uint64(i.PageSize)))
	used := strings.Join(i.Features, " ")
	if used == "" {
		used = "none"
	}
	t.printf("CPU features in use: %s\n", used)
}

// tree draws the processes and their threads.
func (t *text) tree() {
	t.printf("\n")
	t.r.tree(func(prefix string, p *Process, task *Task) {
		line := t.process(p)
		if task != nil {
			line = t.thread(task)
		}
		t.printf("%s%s\n", t.dim(prefix), line)
	})
}

// tree calls f for each line of a drawing of the processes and their threads:
// with the branches in front of it, and with the task if it is a thread that
// does not lead its process.
func (r *Report) tree(f func(prefix string, p *Process, task *Task)) {
	children := make(map[uint32][]*Process)
	here := make(map[uint32]bool)
	for i := range r.Processes {
		here[r.Processes[i].PID] = true
	}
	// A branch is a line to be drawn. Trees can be deeper than a stack is.
	type branch struct {
		prefix, rest string // of the line, and of those below it
		process      *Process
		task         *Task
	}
	var todo []branch
	for i := len(r.Processes) - 1; i >= 0; i-- {
		if p := &r.Processes[i]; here[p.PPID] {
			children[p.PPID] = append(children[p.PPID], p)
		} else {
			todo = append(todo, branch{process: p})
		}
	}
	for len(todo) > 0 {
		b := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		f(b.prefix, b.process, b.task)
		if b.task != nil {
			continue
		}
		// What hangs below, the last first.
		var below []branch
		for _, c := range children[b.process.PID] {
			below = append(below, branch{process: c})
		}
		for i := len(b.process.Tasks) - 1; i > 0; i-- {
			below = append(below, branch{process: b.process, task: &b.process.Tasks[i]})
		}
		for i, c := range below {
			c.prefix, c.rest = b.rest+"├─ ", b.rest+"│  "
			if i == 0 {
				c.prefix, c.rest = b.rest+"└─ ", b.rest+"   "
			}
			todo = append(todo, c)
		}
	}
}

func (t *text) process(p *Process) string {
	s := t.bold(fmt.Sprint(p.PID)) + " " + clean(p.Comm)
	if p.Exe != "" {
		s += " " + t.dim(clean(p.Exe))
	}
	switch p.State {
	case "zombie":
		return s + ": " + exit(p.ExitStatus)
	case "stopped":
		s += " (stopped)"
	}
	return s
}

// exit reads the status of a dead process (wait(2)).
func exit(status uint32) string {
	if sig := status & 0x7f; sig != 0 {
		return fmt.Sprint("zombie, killed by signal ", sig)
	}
	return fmt.Sprint("zombie, exited with ", status>>8&0xff)
}

func (t *text) thread(task *Task) string {
	s := " thread"
	if task.Cwd != "" {
		s += " in " + clean(task.Cwd)
	}
	return t.bold(fmt.Sprint(task.TID)) + " " + clean(task.Comm) + t.dim(s)
}

// groups calls f once for each of the objects that processes share: with the
// first process that has it and the pids of all.
func (r *Report) groups(object func(*Process) uint32, f func(p *Process, pids string)) {
	pids := make(map[uint32][]string)
	for i := range r.Processes {
		p := &r.Processes[i]
		pids[object(p)] = append(pids[object(p)], fmt.Sprint(p.PID))
	}
	for i := range r.Processes {
		p := &r.Processes[i]
		id := object(p)
		if id == 0 || pids[id] == nil {
			continue
		}
		f(p, strings.Join(pids[id], ", "))
		pids[id] = nil
	}
}

func (t *text) memory() {
	t.r.groups(func(p *Process) uint32 { return p.MM }, func(p *Process, pids string) {
		t.printf("\n%s\n", t.bold("memory of "+pids))
		t.printf("  %-16s %8s %11s %11s\n", "", "mappings", "mapped", "saved")
		for _, m := range p.kinds() {
			t.printf("  %-16s %8d %11s %11s\n", m.Kind, m.Mappings, Bytes(m.Mapped), Bytes(m.Saved))
		}
		if p.Shared > 0 {
			t.printf("  %s of it are in the image once: another process has the same pages\n", Bytes(p.Shared))
		}
		if len(p.Maps) > 0 {
			t.maps(p)
		}
	})
}

// kinds is the memory of a process by kind, with a last line for all of it.
func (p *Process) kinds() []Memory {
	sum := Memory{Kind: "all"}
	for _, m := range p.Memory {
		sum.Mappings, sum.Mapped, sum.Saved = sum.Mappings+m.Mappings, sum.Mapped+m.Mapped, sum.Saved+m.Saved
	}
	return append(p.Memory[:len(p.Memory):len(p.Memory)], sum)
}

func (t *text) maps(p *Process) {
	t.printf("\n%s\n", t.bold("mappings"))
	wide := 0
	for _, m := range p.Maps {
		if n := len(m.Start) + len(m.End); n > wide {
			wide = n
		}
	}
	t.printf("  %-*s %s %10s %10s %10s  %s\n", wide-3, "address", "mode", "offset", "size", "saved", "mapping")
	for _, m := range p.Maps {
		name := clean(m.Name)
		if name == "" {
			name = t.dim(m.Kind)
		}
		if m.Flags != "" {
			name += t.dim(" (" + m.Flags + ")")
		}
		t.printf("  %-*s %s %10x %10s %10s  %s\n", wide-3, m.Start[2:]+"-"+m.End[2:], m.Perms, m.Offset, Bytes(m.Size), Bytes(m.Saved), name)
	}
}

func (t *text) shared() {
	if len(t.r.SharedMemory) == 0 {
		return
	}
	t.printf("\n%s\n", t.bold("shared memory"))
	for i := range t.r.SharedMemory {
		s := &t.r.SharedMemory[i]
		t.printf("  %-5d %11s %11s saved  %s\n", s.ID, Bytes(s.Size), Bytes(s.Saved), s.what())
	}
}

// what says what the memory is.
func (s *Shared) what() string {
	switch {
	case s.MemFD != "":
		return "memfd " + clean(s.MemFD)
	case s.Path != "":
		return "deleted file " + clean(s.Path)
	case s.Segment != nil:
		return fmt.Sprint("System V segment ", *s.Segment)
	}
	return "anonymous"
}

func (t *text) descriptors() {
	note := t.r.notes()
	t.r.tables(func(pids string, list []Descriptor) {
		t.printf("\n%s\n", t.bold("descriptors of "+pids))
		for i := range list {
			d := &list[i]
			text := note(d)
			if text != "" {
				text = " " + text
			}
			t.printf("  %5d %-2s %-10s %s%s\n", d.FD, d.Access, d.Kind, clean(d.Path), t.dim(text))
		}
	})
}

// tables calls f for each table of descriptors that has some: those of
// processes, which can share one, then those of threads that have one for
// themselves.
func (r *Report) tables(f func(pids string, list []Descriptor)) {
	r.groups(func(p *Process) uint32 { return p.Files }, func(p *Process, pids string) {
		if len(p.Descriptors) > 0 {
			f(pids, p.Descriptors)
		}
	})
	for i := range r.Processes {
		for j := range r.Processes[i].Tasks {
			if t := &r.Processes[i].Tasks[j]; len(t.Descriptors) > 0 {
				f(fmt.Sprint("thread ", t.TID), t.Descriptors)
			}
		}
	}
}

// notes returns what tells more of a descriptor than its path does.
func (r *Report) notes() func(*Descriptor) string {
	pipes := make(map[uint32]*Pipe)
	for i := range r.Pipes {
		pipes[r.Pipes[i].ID] = &r.Pipes[i]
	}
	sockets := make(map[uint32]*Socket)
	for i := range r.Sockets {
		sockets[r.Sockets[i].ID] = &r.Sockets[i]
	}
	paths := make(map[uint32]string) // of sockets
	for i := range r.Processes {
		for _, d := range r.Processes[i].Descriptors {
			if d.Kind == "socket" {
				paths[d.Object] = d.Path
			}
		}
	}
	return func(d *Descriptor) string {
		note := ""
		switch d.Kind {
		case "file":
			note = fmt.Sprint("at ", d.Pos)
		case "pipe", "fifo":
			if q := pipes[d.Object]; q != nil {
				note = fmt.Sprintf("with %d of %d bytes", q.Filled, q.Capacity)
				if q.External {
					note += ", from or to outside"
				}
			}
		case "socket":
			if s := sockets[d.Object]; s != nil {
				note = s.text(paths[s.PeerID])
			}
		}
		if d.CloExec {
			note = strings.TrimPrefix(note+" (close on exec)", " ")
		}
		return note
	}
}

func (t *text) registers() {
	for i := range t.r.Processes {
		for j := range t.r.Processes[i].Tasks {
			task := &t.r.Processes[i].Tasks[j]
			if len(task.Sets) == 0 {
				continue
			}
			t.printf("\n%s\n", t.bold(fmt.Sprintf("registers of %d", task.TID))+t.dim(" "+task.ABI))
			for k := range task.Sets {
				t.set(&task.Sets[k])
			}
		}
	}
}

// set shows the registers of a set in columns, those of one size together.
func (t *text) set(s *Set) {
	t.printf("  %s\n", t.bold(s.Name))
	if len(s.Regs) == 0 {
		t.printf("    %d bytes\n", s.Bytes)
	}
	for _, regs := range s.runs() {
		t.columns(regs)
	}
}

// runs are the registers in their order, those of one size together.
func (s *Set) runs() [][]Register {
	var list [][]Register
	for regs := s.Regs; len(regs) > 0; {
		n := 1
		for n < len(regs) && len(regs[n].Value) == len(regs[0].Value) {
			n++
		}
		list = append(list, regs[:n])
		regs = regs[n:]
	}
	return list
}

// columns shows registers of one size.
func (t *text) columns(regs []Register) {
	name := 0
	for _, r := range regs {
		if len(r.Name) > name {
			name = len(r.Name)
		}
	}
	columns := (t.Width - 4 + 2) / (name + 1 + len(regs[0].Value) + 2)
	if columns < 1 {
		columns = 1
	}
	for i, r := range regs {
		begin, end := "  ", ""
		if i%columns == 0 {
			begin = "    "
		}
		if i%columns == columns-1 || i == len(regs)-1 {
			end = "\n"
		}
		t.printf("%s%-*s %s%s", begin, name, clean(r.Name), r.Value, end)
	}
}
