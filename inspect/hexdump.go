package inspect

import (
	"fmt"
	"strings"
)

// hexdump shows memory as hexdump -C does, with a * for lines that repeat. Bytes
// that are mapped and not in the image show as dots, others not at all.
func (t *text) hexdump(d *dump) {
	const width = 16
	last, starred, shown := "", false, false
	for at := 0; at < len(d.data); {
		addr := d.start + uint64(at)
		n := width - int(addr%width)
		if n > len(d.data)-at {
			n = len(d.data) - at
		}
		line := hexLine(d, at, n, int(addr%width), width)
		at += n
		if line == last && line != "" && at < len(d.data) {
			if !starred {
				t.printf("*\n")
			}
			starred = true
			continue
		}
		last, starred = line, false
		if line != "" {
			shown = true
			t.printf("%s  %s\n", t.dim(fmt.Sprintf("%016x", addr&^(width-1))), line)
		}
	}
	if !shown {
		t.printf("nothing is mapped there\n")
	}
}

// hexLine is n bytes from at on, skip columns from the left. It is empty if no
// byte is mapped.
func hexLine(d *dump, at, n, skip, width int) string {
	hex, ascii := make([]string, width), []byte(strings.Repeat(" ", width))
	for i := range hex {
		hex[i] = "  "
	}
	mapped := false
	for i := 0; i < n; i++ {
		c, col := d.data[at+i], skip+i
		mapped = mapped || d.state[at+i] != unmapped
		switch d.state[at+i] {
		case elsewhere:
			hex[col] = ".."
		case known:
			hex[col], ascii[col] = fmt.Sprintf("%02x", c), '.'
			if ' ' <= c && c <= '~' {
				ascii[col] = c
			}
		}
	}
	if !mapped {
		return ""
	}
	return fmt.Sprintf("%s  %s  |%s|", strings.Join(hex[:8], " "), strings.Join(hex[8:], " "), ascii)
}
