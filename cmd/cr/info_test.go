package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"cr/image/imagetest"
	"cr/regset"
)

// TestInfoHTML has the page on standard output, with all that there is to show.
func TestInfoHTML(t *testing.T) {
	cr, _ := programs(t)
	img := file(t, "image", imagetest.Bytes(imagetest.Image(regset.PPC64)))
	out, said, w := run(t, cr, "info", "--html", img)
	require.Zero(t, w.ExitStatus(), said)
	require.True(t, strings.HasPrefix(out, "<!DOCTYPE html>"))
	for _, want := range []string{"NT_PRFPREG", "10010000", "8 KiB saved, the rest zero", "</html>"} {
		require.Contains(t, out, want)
	}
	for _, args := range [][]string{{"--html", "--json"}, {"--html", "--hexdump=0"}, {"--json", "--hexdump=0"}} {
		_, said, w := run(t, cr, append([]string{"info", img}, args...)...)
		require.Equal(t, failed, w.ExitStatus())
		require.Contains(t, said, "exclude each other")
	}
}

func TestInfoHexdumpUnmapped(t *testing.T) {
	cr, _ := programs(t)
	_, image := checkpointed(t, cr)
	out, said, w := run(t, cr, "info", "--hexdump", "0x10,64", image)
	require.Zero(t, w.ExitStatus(), said)
	require.Equal(t, "nothing is mapped there\n", out)
}
