package initramfs

import (
	"fmt"
	"os/exec"
	"sort"
	"strings"
)

// Flavour is a way to build programs for a kind of guest.
type Flavour struct {
	Name   string
	GOARCH string

	// GCC is the prefix of the cross compiler, as powerpc-linux-gnu, for
	// flavours that gccgo builds: 32-bit powerpc, which the gc toolchain does
	// not know, and 64-bit powerpc without VSX, which its programs need. It is
	// empty for the gc toolchain.
	GCC string

	// Link is more options for gccgo's linker.
	Link string

	// Like is the GOARCH for which u-root's sources are arranged, for GOARCHs
	// that the gc toolchain does not know.
	Like string
}

// gccgoVersion is the suffix of the cross compilers' gccgo.
const gccgoVersion = "-12"

// splitstack has internal/libgo's functions called instead of libgcc's, which
// hide a register from the garbage collector.
const splitstack = " -Wl,--wrap=__splitstack_find,--wrap=__splitstack_find_context,-u,__wrap___splitstack_find"

// frames has the unwinder look functions up in a sorted table. A static program
// otherwise registers its unsorted one as it starts (crtbeginT.o of gcc), and
// sorts that as soon as a stack is looked at: half of the time that a command
// takes. To the linker, what is wrapped is not there, and nobody calls it.
const frames = " -Wl,--eh-frame-hdr,--wrap=__register_frame_info,--wrap=__deregister_frame_info"

var flavours = map[string]Flavour{}

func init() {
	for _, f := range []Flavour{
		{Name: "x86_64", GOARCH: "amd64"},
		{Name: "i386", GOARCH: "386"},
		{Name: "ppc64", GOARCH: "ppc64"},
		{Name: "ppc64le", GOARCH: "ppc64le"},
		{Name: "ppc32", GOARCH: "ppc", GCC: "powerpc-linux-gnu", Link: " -Wl,--no-warn-rwx-segments", Like: "386"},
		{Name: "ppc64-gccgo", GOARCH: "ppc64", GCC: "powerpc64-linux-gnu", Link: splitstack, Like: "ppc64"},
	} {
		flavours[f.Name] = f
	}
}

// FlavourOf finds a flavour by its name.
func FlavourOf(name string) (Flavour, error) {
	f, ok := flavours[name]
	if !ok {
		return f, fmt.Errorf("no flavour of guest programs is called %q (there are: %s)", name, strings.Join(Names(), ", "))
	}
	return f, nil
}

// Names lists the flavours.
func Names() []string {
	var names []string
	for n := range flavours {
		names = append(names, n)
	}
	sort.Strings(names)
	return names
}

func (f Flavour) gccgo() bool { return f.GCC != "" }

// env is what the go command needs in its environment to build for f.
func (f Flavour) env() []string {
	env := []string{"GOOS=linux", "GOARCH=" + f.GOARCH}
	if f.gccgo() {
		// golang.org/x/sys has a C file for gccgo, so cgo is on.
		return append(env, "CGO_ENABLED=1", "CC="+f.GCC+"-gcc", "GCCGO="+f.GCC+"-gccgo"+gccgoVersion)
	}
	return append(env, "CGO_ENABLED=0")
}

// build is the go command's arguments that make static, stripped programs.
func (f Flavour) build() []string {
	args := []string{"build", "-buildvcs=false", "-trimpath"}
	if f.gccgo() {
		return append(args, "-compiler", "gccgo", "-gccgoflags", "-O2 -static -s"+frames+f.Link)
	}
	return append(args, "-ldflags", "-s -w")
}

// modfile is the module file of the guest's programs.
func (f Flavour) modfile() string {
	if f.gccgo() {
		return "ppc32.mod"
	}
	return "go.mod"
}

// check says what is missing to build f.
func (f Flavour) check() error {
	if !f.gccgo() {
		return nil
	}
	for _, tool := range []string{f.GCC + "-gcc", f.GCC + "-gccgo" + gccgoVersion} {
		if _, err := exec.LookPath(tool); err != nil {
			return fmt.Errorf("guests of flavour %s need %s: run scripts/setup test", f.Name, tool)
		}
	}
	return nil
}
