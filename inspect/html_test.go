//go:build !guest

package inspect_test

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"image/color"
	"image/png"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"cr/image"
	"cr/image/imagetest"
	"cr/inspect"
	"cr/regset"
)

// html is the page of an image.
func html(t *testing.T, m *image.Image) string {
	r, err := inspect.Read(bytes.NewReader(imagetest.Bytes(m)), inspect.Options{Regs: true, Maps: true, Places: true})
	require.NoError(t, err)
	var b strings.Builder
	require.NoError(t, r.HTML(&b))
	return b.String()
}

// elements reads a page as XML, which it is too: every element is closed, every
// attribute quoted.
func elements(t *testing.T, page string) (list []xml.StartElement, text string) {
	d := xml.NewDecoder(strings.NewReader(page))
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return list, text
		}
		require.NoError(t, err)
		switch x := token.(type) {
		case xml.StartElement:
			list = append(list, x.Copy())
		case xml.CharData:
			text += string(x)
		}
	}
}

func attribute(e *xml.StartElement, name string) string {
	for _, a := range e.Attr {
		if a.Name.Local == name {
			return a.Value
		}
	}
	return ""
}

// TestHTML checks that pages are well-formed, need nothing from outside, and
// that every reference within them has its target.
func TestHTML(t *testing.T) {
	for _, abi := range imagetest.ABIs {
		page := html(t, imagetest.Image(abi))
		list, text := elements(t, page)
		ids, refs := make(map[string]bool), make(map[string]bool)
		for i := range list {
			e := &list[i]
			require.NotContains(t, []string{"script", "link", "img", "iframe", "object", "base"}, e.Name.Local)
			require.Empty(t, attribute(e, "src"))
			if id := attribute(e, "id"); id != "" {
				require.False(t, ids[id], id)
				ids[id] = true
			}
			if ref := attribute(e, "href"); ref != "" {
				require.Equal(t, "#", ref[:1])
				refs[ref[1:]] = true
			}
		}
		require.Len(t, refs, 3, "the tasks of the tree")
		for ref := range refs {
			require.True(t, ids[ref], ref)
		}
		require.NotContains(t, text, "url(")
		require.NotContains(t, text, "@import")
		for _, want := range []string{"image 7: job-100", abi.String(), "zombie, exited with 3", "[heap]", "/tmp/out", "NT_PRSTATUS", "unix stream connected"} {
			require.Contains(t, text, want)
		}
	}
}

// TestHTMLHostile has an image whose strings would be markup.
func TestHTMLHostile(t *testing.T) {
	const evil = "</td></style></title>\"'><script>alert(1)</script><img src=x onerror=alert(1)>\x1b\u202e&lt;{{.}}"
	comm := func(s string) string { return strings.Replace(s, evil, "\"'><script>\x1b", 1) }
	with := func(s string) []xml.StartElement {
		m := imagetest.Image(regset.X86_64)
		m.Header.Hostname, m.Header.Release, m.Header.Creator = s, s, s
		m.Files[0].Path, m.Files[2].Path = "/"+s, "/"+s
		m.Shms[1].Name, m.Shms[2].Path = s, "/"+s
		for _, p := range m.Processes {
			p.Comm = comm(s)
		}
		for _, task := range m.Tasks {
			task.Comm = comm(s)
		}
		for i := range m.MMs[0].VMAs {
			m.MMs[0].VMAs[i].Name = s
		}
		list, text := elements(t, html(t, m))
		if s == evil {
			require.Contains(t, text, `<script>alert(1)</script>`, "as text")
			require.Contains(t, text, `\x1b\u202e&lt;{{.}}`)
			require.Contains(t, text, `"'><script>\x1b`, "the name of a task")
		}
		return list
	}
	harmless, hostile := with("x"), with(evil)
	require.Equal(t, len(harmless), len(hostile))
	for i := range harmless {
		require.Equal(t, harmless[i].Name, hostile[i].Name)
		require.Equal(t, len(harmless[i].Attr), len(hostile[i].Attr), "%v", hostile[i])
	}
}

// TestHTMLPicture checks where the bars say that memory is saved.
func TestHTMLPicture(t *testing.T) {
	m := imagetest.Image(regset.PPC)
	m.MMs[1].VMAs[0].File, m.MMs[1].VMAs[2].Offset = 3, 2*imagetest.PageSize // of the shared memory only the end, which is not saved
	m.MMs[1].VMAs[2].End -= 2 * imagetest.PageSize
	m.Files[2].Gone, m.Files[2].Object = true, 3
	list, _ := elements(t, html(t, m))
	var bars []string
	for i := range list {
		switch e := &list[i]; e.Name.Local {
		case "svg":
			bars = append(bars, attribute(e, "class")+" "+attribute(e, "aria-label"))
		case "rect":
			bars[len(bars)-1] += fmt.Sprintf(" [%s+%s %s]", attribute(e, "x"), attribute(e, "width"), attribute(e, "opacity"))
		}
	}
	one := []string{
		"file in the file",
		"zero 8 KiB saved, the rest zero [0+256 1]",
		"zero 4 KiB saved, the rest zero [128+128 1]",
		"kernel made by the kernel",
		"kernel all saved [0+512 1]",
		"zero 4 KiB saved, the rest zero [256+256 1]",
	}
	other := append([]string(nil), one...)
	other[0], other[2] = "zero zero", "zero zero"
	var want []string
	for _, space := range [][]string{one, other} {
		want = append(append(want, space...), space...) // the strip and the table
	}
	require.Equal(t, want, bars)
}

// TestHTMLFine has a mapping larger than what a bar can show page by page.
func TestHTMLFine(t *testing.T) {
	m := imagetest.Image(regset.X86_64)
	m.Bytes = 1 << 30
	heap := &m.MMs[0].VMAs[5]
	heap.End = heap.Start + 512*4*imagetest.PageSize // four pages in each cell of a bar
	b := pages(t, m, func(w *image.Writer) {
		for _, run := range []image.Run{{Addr: 0, Len: 4}, {Addr: 4, Len: 1}, {Addr: 9, Len: 2}, {Addr: 2046, Len: 2}} {
			run.Addr, run.Len = heap.Start+run.Addr*imagetest.PageSize, run.Len*imagetest.PageSize
			require.NoError(t, w.Pages(1, false, []image.Run{run}, make([]byte, run.Len)))
		}
	})
	r, err := inspect.Read(bytes.NewReader(b), inspect.Options{Regs: true, Maps: true, Places: true})
	require.NoError(t, err)
	var page strings.Builder
	require.NoError(t, r.HTML(&page))
	for _, rect := range []string{
		`x="0" width="1" height="1" opacity="1"`,
		`x="1" width="1" height="1" opacity="0.25"`,
		`x="2" width="1" height="1" opacity="0.5"`,
		`x="511" width="1" height="1" opacity="0.5"`,
	} {
		require.Contains(t, page.String(), "<rect "+rect+"></rect>")
	}
	require.Contains(t, page.String(), `aria-label="36 KiB saved, the rest zero"`)
}

// FuzzHTML shows registers and mappings as an image may have them.
func FuzzHTML(f *testing.F) {
	for i := range imagetest.ABIs {
		f.Add(uint8(i), uint32(regset.PRSTATUS), []byte("registers"), uint64(imagetest.PageSize))
		f.Add(uint8(i), uint32(regset.X86_XSTATE), make([]byte, 600), uint64(0x12345000))
	}
	f.Fuzz(func(t *testing.T, abi uint8, note uint32, data []byte, size uint64) {
		m := imagetest.Image(imagetest.ABIs[int(abi)%len(imagetest.ABIs)])
		m.CPUs[0].State.Put(regset.Note(note), data)
		size = size%(1<<29)&^(imagetest.PageSize-1) + 2*imagetest.PageSize
		m.MMs[0].VMAs[5].End = m.MMs[0].VMAs[5].Start + size
		list, _ := elements(t, html(t, m))
		for i := range list {
			if e := &list[i]; e.Name.Local == "rect" {
				var x, width int
				_, err := fmt.Sscan(attribute(e, "x"), &x)
				require.NoError(t, err)
				_, err = fmt.Sscan(attribute(e, "width"), &width)
				require.NoError(t, err)
				require.True(t, width > 0 && x >= 0 && x+width <= 512, "%d+%d", x, width)
			}
		}
	})
}

// TestHTMLInBrowser looks for what is saved, in its colour, in a picture that a
// browser makes of the page.
func TestHTMLInBrowser(t *testing.T) {
	chromium, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip(err)
	}
	dir := t.TempDir()
	page := filepath.Join(dir, "page.html")
	require.NoError(t, os.WriteFile(page, []byte(html(t, imagetest.Image(regset.PPC64))), 0o644))
	for _, scheme := range []struct {
		name, flag string
		back, held color.RGBA
	}{
		{"light", "--blink-settings=preferredColorScheme=1", color.RGBA{0xff, 0xff, 0xff, 0xff}, color.RGBA{0x1f, 0x5f, 0xbf, 0xff}},
		{"dark", "--blink-settings=preferredColorScheme=0", color.RGBA{0x14, 0x17, 0x1a, 0xff}, color.RGBA{0x6a, 0xa9, 0xff, 0xff}},
	} {
		shot := filepath.Join(dir, scheme.name+".png")
		out, err := exec.CommandContext(t.Context(), chromium, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
			"--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
			"--user-data-dir="+filepath.Join(dir, "profile-"+scheme.name), "--window-size=1200,2000", scheme.flag,
			"--screenshot="+shot, "file://"+page).CombinedOutput()
		require.NoError(t, err, "%s", out)
		f, err := os.Open(shot)
		require.NoError(t, err)
		defer f.Close()
		picture, err := png.Decode(f)
		require.NoError(t, err)
		count := make(map[color.RGBA]int)
		bounds := picture.Bounds()
		for y := bounds.Min.Y; y < bounds.Max.Y; y++ {
			for x := bounds.Min.X; x < bounds.Max.X; x++ {
				count[color.RGBAModel.Convert(picture.At(x, y)).(color.RGBA)]++
			}
		}
		all := bounds.Dx() * bounds.Dy()
		require.Greater(t, count[scheme.back], all/2, scheme.name)
		// Each of the two address spaces has a strip as wide as the page, of
		// which 20 of 68 KiB are saved, 19 pixels high.
		require.Greater(t, count[scheme.held], 2*1100*20/68*15, scheme.name)
	}
}
