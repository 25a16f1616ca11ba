package main

import (
	"os"
	"regexp"
	"strings"
)

// callPages are the manual pages of the two calls, by file name, made of their
// description, docs/abi.md.
func callPages(abi string) map[string][]byte {
	pages := make(map[string][]byte)
	for name, short := range map[string]string{
		"checkpoint": "save a process and its descendants",
		"restart":    "become the process that was saved",
	} {
		p := newManPage(name, short)
		page := strings.Replace(p.String(), strings.ToUpper(name)+`" 1 `, strings.ToUpper(name)+`" 2 `, 1)
		p.Reset()
		p.line("%s.SH SYNOPSIS", page)
		p.markdown(codeWith(section(abi, ""), name))
		p.line(".PP\nC libraries have no wrappers: use\n.BR syscall (2)\nwith the number of the machine:")
		p.markdown(firstTable(section(abi, "")))
		p.line(".SH DESCRIPTION\n\\fB%s\\fR", name)
		p.markdown(section(abi, name))
		for _, title := range []string{"Signals", "Interception", "Authority", "Example"} {
			p.line(".SH %s", strings.ToUpper(title))
			p.markdown(section(abi, title))
		}
		p.line(".SH SEE ALSO\n.BR cr (1),\n.BR %s (2),\n.BR syscall (2)", map[string]string{"checkpoint": "restart", "restart": "checkpoint"}[name])
		pages[name+".2"] = p.Bytes()
	}
	return pages
}

// writeCallPages writes them into a directory.
func writeCallPages(from, dir string) error {
	abi, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	for name, text := range callPages(string(abi)) {
		if err := os.WriteFile(dir+"/"+name, text, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// section is what stands below a heading of the second level, "" for what stands
// before the first.
func section(text, title string) string {
	_, text, _ = strings.Cut(text, "\n") // the heading of the whole
	if title != "" {
		_, text, _ = strings.Cut(text, "\n## "+title+"\n")
	}
	text, _, _ = strings.Cut(text, "\n## ")
	return strings.TrimSpace(text)
}

// codeWith is the line of the first piece of code that calls a function, as a
// piece of code.
func codeWith(text, name string) string {
	for _, line := range strings.Split(text, "\n") {
		if strings.Contains(line, name+"(") {
			return "```\n" + line + "\n```"
		}
	}
	return ""
}

func firstTable(text string) string {
	var rows []string
	for _, line := range strings.Split(text, "\n") {
		if strings.HasPrefix(line, "|") {
			rows = append(rows, line)
		} else if len(rows) > 0 {
			break
		}
	}
	return strings.Join(rows, "\n")
}

// markdown writes the little of markdown that docs/abi.md uses.
func (p *manPage) markdown(text string) {
	lines := strings.Split(text, "\n")
	item := false
	for i := 0; i < len(lines); i++ {
		line := lines[i]
		switch {
		case strings.HasPrefix(line, "```"):
			p.line(".PP\n.EX")
			for i++; i < len(lines) && !strings.HasPrefix(lines[i], "```"); i++ {
				p.line("%s", roffLine(lines[i]))
			}
			p.line(".EE")
		case strings.HasPrefix(line, "|"):
			first := i
			for i+1 < len(lines) && strings.HasPrefix(lines[i+1], "|") {
				i++
			}
			p.table(lines[first : i+1])
		case strings.HasPrefix(line, "### "):
			p.line(".SS %s", inline(strings.TrimPrefix(line, "### ")))
		case strings.HasPrefix(line, "- "):
			p.line(".IP \\(bu 2\n%s", inline(line[2:]))
			item = true
		case line == "":
			if !item || i+1 < len(lines) && !strings.HasPrefix(lines[i+1], "- ") {
				p.line(".PP")
				item = false
			}
		default:
			p.line("%s", inline(strings.TrimSpace(line)))
		}
	}
}

// table writes rows as paragraphs with the first cell as their heads.
func (p *manPage) table(rows []string) {
	cells := func(row string) []string {
		list := strings.Split(strings.Trim(row, "|"), "|")
		for i := range list {
			list[i] = strings.TrimSpace(list[i])
		}
		return list
	}
	heads := cells(rows[0])
	for _, row := range rows[2:] { // behind the line of dashes
		c := cells(row)
		p.line(".TP\n%s", inline(c[0]))
		if len(c) == 2 {
			p.line("%s", inline(c[1]))
			continue
		}
		var parts []string
		for i := 1; i < len(c); i++ {
			if parts = append(parts, c[i]); heads[i] != "" {
				parts[len(parts)-1] = heads[i] + ": " + c[i]
			}
		}
		p.line("%s", inline(strings.Join(parts, "; ")))
	}
	p.line(".PP")
}

// inline is a line with what is set off in it in bold or italics.
func inline(line string) string {
	line = roffLine(line)
	strong, soft := regexp.MustCompile(`\*\*([^*]*)\*\*`), regexp.MustCompile(`\*([^*]+)\*`)
	code := regexp.MustCompile("\\\\\\(ga([^`]*?)\\\\\\(ga")
	line = strong.ReplaceAllString(line, `\fB$1\fR`)
	line = soft.ReplaceAllString(line, `\fI$1\fR`)
	line = code.ReplaceAllString(line, `\fB$1\fR`)
	if strings.HasPrefix(line, `\(aq`) {
		line = `\&` + line
	}
	return line
}
