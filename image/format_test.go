package image_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"reflect"
	"sort"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"cr/cpu"
	"cr/image"
	"cr/image/imagetest"
	"cr/regset"
)

var update = flag.Bool("update", false, "rewrite the generated parts of docs/format.md")

const formatFile = "../docs/format.md"

// field is one row of a record's table in docs/format.md: its name and type.
type field struct{ name, kind string }

// place is a field with where it was found: bytes [at, at+size) of the record,
// within that of the list at byte list if it is a field of an element.
type place struct {
	field
	list, at, size int
}

// layout finds the fields of a record from outside: it changes one at a time and
// looks for the bytes that change.
func layout(t *testing.T, r image.Record) []field {
	var places []place
	fresh := func() reflect.Value { return reflect.New(reflect.TypeOf(r).Elem()) }
	var walk func(typ reflect.Type, name string, base func() reflect.Value, get func(reflect.Value) reflect.Value, list int)
	walk = func(typ reflect.Type, name string, base func() reflect.Value, get func(reflect.Value) reflect.Value, list int) {
		found := func(kind string, size int, value any) int {
			changed := base()
			get(changed.Elem()).Set(reflect.ValueOf(value).Convert(typ))
			at, n := difference(t, base(), changed)
			require.LessOrEqual(t, n, size, name)
			places = append(places, place{field{"`" + name + "`", kind}, list, at, size})
			return at
		}
		switch typ.Kind() {
		case reflect.Bool:
			found("flag", 1, true)
		case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
			ones := reflect.New(typ).Elem()
			ones.SetUint(1<<(8*typ.Size()) - 1)
			found(fmt.Sprint("u", 8*typ.Size()), int(typ.Size()), ones.Interface())
		case reflect.Int32, reflect.Int64:
			found(fmt.Sprint("i", 8*typ.Size()), int(typ.Size()), -1)
		case reflect.String:
			found("string", 4, "x")
		case reflect.Struct:
			for i := 0; i < typ.NumField(); i++ {
				f := typ.Field(i)
				sub := f.Name
				if name != "" {
					sub = name + "." + sub
				}
				walk(f.Type, sub, base, func(v reflect.Value) reflect.Value { return get(v).Field(i) }, list)
			}
		case reflect.Array:
			for i := 0; i < typ.Len(); i++ {
				walk(typ.Elem(), fmt.Sprintf("%s[%d]", name, i), base, func(v reflect.Value) reflect.Value { return get(v).Index(i) }, list)
			}
		case reflect.Slice:
			one := reflect.MakeSlice(typ, 1, 1).Interface()
			switch e := typ.Elem(); {
			case e.Kind() == reflect.Uint8:
				found("bytes", 4, one)
			case e.Kind() == reflect.Uint32:
				found("list of u32", 4, one)
			case e.Kind() == reflect.Slice:
				found("list of bytes", 4, one)
			default:
				at := found("list", 4, one)
				withOne := func() reflect.Value {
					v := base()
					get(v.Elem()).Set(reflect.MakeSlice(typ, 1, 1))
					return v
				}
				walk(e, name+"[]", withOne, func(v reflect.Value) reflect.Value { return get(v).Index(0) }, at)
			}
		default:
			require.FailNow(t, "a type that this test does not know", "%s: %v", name, typ)
		}
	}
	walk(reflect.TypeOf(r).Elem(), "", fresh, func(v reflect.Value) reflect.Value { return v }, -1)

	sort.SliceStable(places, func(i, j int) bool {
		a, b := places[i], places[j]
		key := func(p place) (int, int) {
			if p.list >= 0 {
				return p.list, 1
			}
			return p.at, 0
		}
		ai, an := key(a)
		bi, bn := key(b)
		if ai != bi {
			return ai < bi
		}
		if an != bn {
			return an < bn
		}
		return a.at < b.at
	})
	var fields []field
	next := map[int]int{-1: 0} // by list: where the next field should be
	for _, p := range places {
		if p.kind == "list" {
			next[p.at] = p.at + 4
		}
		require.Equal(t, next[p.list], p.at, "%s is not where it should be: is there a gap?", p.name)
		next[p.list] = p.at + p.size
		fields = append(fields, p.field)
	}
	return fields
}

// difference encodes two records and returns where the encodings first differ,
// and over how many bytes if they are equally long.
func difference(t *testing.T, a, b reflect.Value) (at, n int) {
	ab, err := image.Encode(a.Interface().(image.Record))
	require.NoError(t, err)
	bb, err := image.Encode(b.Interface().(image.Record))
	require.NoError(t, err)
	for at < len(ab) && at < len(bb) && ab[at] == bb[at] {
		at++
	}
	require.Less(t, at, len(bb), "a field that is not encoded")
	if len(ab) == len(bb) {
		for i := at; i < len(ab); i++ {
			if ab[i] != bb[i] {
				n = i + 1 - at
			}
		}
	}
	return at, n
}

// documented reads the table of a record in docs/format.md.
func documented(t *testing.T, doc string, r image.Record) []field {
	title := fmt.Sprintf("\n### %v (%d)\n", image.TagOf(r), image.TagOf(r))
	_, section, ok := strings.Cut(doc, title)
	require.True(t, ok, "no section %q", title)
	section, _, _ = strings.Cut(section, "\n#")
	_, table, ok := strings.Cut(section, "| Field | Type | Meaning |\n|---|---|---|\n")
	require.True(t, ok, "no table in section %q", title)
	var fields []field
	for _, line := range strings.Split(table, "\n") {
		cells := strings.Split(line, "|")
		if len(cells) < 5 {
			break
		}
		fields = append(fields, field{strings.TrimSpace(cells[1]), strings.TrimSpace(cells[2])})
	}
	return fields
}

func TestFormatTables(t *testing.T) {
	doc, err := os.ReadFile(formatFile)
	require.NoError(t, err)
	for _, r := range image.Samples() {
		t.Run(image.TagOf(r).String(), func(t *testing.T) {
			require.Equal(t, layout(t, r), documented(t, string(doc), r))
		})
	}
}

// generated are the parts of docs/format.md that are made from tables in code.
var generated = map[string]func() string{"sets": setsTable, "features": featuresTable}

func setsTable() string {
	var b strings.Builder
	for _, abi := range imagetest.ABIs {
		fmt.Fprintf(&b, "\n### Sets of %v\n\n| Note | Name | |\n|---|---|---|\n", abi)
		for _, d := range cpu.For(abi).Table(abi) {
			core := ""
			if d.InCore {
				core = "core"
			}
			fmt.Fprintf(&b, "| %#x | %s | %s |\n", uint32(d.Note), d.Name, core)
		}
	}
	return b.String()
}

func featuresTable() string {
	var b strings.Builder
	for _, a := range []struct {
		name string
		abi  regset.ABI
	}{{"powerpc", regset.PPC}, {"x86", regset.X86_64}} {
		fmt.Fprintf(&b, "\n### Features of %s\n\n| Bit | Name | |\n|---|---|---|\n", a.name)
		for _, f := range cpu.For(a.abi).Features() {
			bit := 0
			for f.Bit>>bit != 1 {
				bit++
			}
			fmt.Fprintf(&b, "| %d | %s | %s |\n", bit, f.Name, f.Doc)
		}
	}
	return b.String()
}

func TestFormatGenerated(t *testing.T) {
	b, err := os.ReadFile(formatFile)
	require.NoError(t, err)
	doc := string(b)
	for name, make := range generated {
		begin, end := "<!-- begin generated: "+name+" -->\n", "<!-- end generated: "+name+" -->"
		before, rest, ok := strings.Cut(doc, begin)
		require.True(t, ok, begin)
		_, after, ok := strings.Cut(rest, end)
		require.True(t, ok, end)
		doc = before + begin + make() + "\n" + end + after
	}
	if *update {
		require.NoError(t, os.WriteFile(formatFile, []byte(doc), 0o644))
		return
	}
	require.Equal(t, doc, string(b), "run go test ./image -run FormatGenerated -update")
}

// TestFormatReader runs the reader that docs/format.md has.
func TestFormatReader(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("no python3 to run the reader of docs/format.md with")
	}
	doc, err := os.ReadFile(formatFile)
	require.NoError(t, err)
	_, program, ok := strings.Cut(string(doc), "```python\n")
	require.True(t, ok)
	program, _, _ = strings.Cut(program, "```")
	run := func(in []byte) (string, error) {
		c := exec.Command(python, "-c", program)
		c.Stdin = bytes.NewReader(in)
		out, err := c.CombinedOutput()
		return string(out), err
	}
	in := small(t)
	out, err := run(in)
	require.NoError(t, err, out)
	var want strings.Builder
	heads(t, in, func(tag image.Tag, _, _, length int) { fmt.Fprintln(&want, tag, length) })
	require.Equal(t, want.String(), out)
	for _, at := range []int{20, 60, len(in) - 1} {
		broken := append([]byte(nil), in...)
		broken[at] ^= 1
		_, err := run(broken)
		require.Error(t, err, "byte %d", at)
	}
}
