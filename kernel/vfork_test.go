package kernel_test

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"cr/kernel"
)

// vforkProgram makes children by vfork without end; each executes a program
// after a while, argument 1 in microseconds.
const vforkProgram = `
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>
int main(int argc, char **argv)
{
	char line[9];
	int status, n = 0;
	puts("ready");
	fflush(stdout);
	if (atoi(argv[1]) < 0) { /* a child that waits itself */
		if (vfork() == 0) {
			read(0, line, sizeof line);
			_exit(3);
		}
		wait(&status);
		puts(WEXITSTATUS(status) == 3 ? "ok" : "bad");
		return 0;
	}
	fcntl(0, 4, 04000); /* F_SETFL, O_NONBLOCK */
	while (read(0, line, sizeof line) != 3) {
		if (vfork() == 0) {
			usleep(atoi(argv[1]));
			execl("/bin/true", "true", (char *)0);
			_exit(1);
		}
		if (wait(&status) < 0 || status != 0)
			return puts("bad"), 1;
		n++;
	}
	puts("ok");
	return 0;
}
`

func compile(t *testing.T, source string) string {
	t.Helper()
	gcc, err := exec.LookPath("gcc")
	if err != nil {
		t.Skip("no gcc to build the program with")
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "program.c")
	require.NoError(t, os.WriteFile(file, []byte(source), 0o600))
	out, err := exec.Command(gcc, "-w", "-pthread", "-o", filepath.Join(dir, "program"), file).CombinedOutput()
	require.NoError(t, err, string(out))
	return filepath.Join(dir, "program")
}

func TestVfork(t *testing.T) {
	program := compile(t, vforkProgram)
	for _, delay := range []string{"0", "3000"} {
		t.Run(delay, func(t *testing.T) {
			p := start(t, `os.execv(sys.argv[1], sys.argv[1:])`, program, delay)
			var image []byte
			for i := 0; i < 10; i++ {
				image = p.checkpoint(kernel.CheckpointOptions{})
			}
			p.finish()
			restart(t, image).finish()
		})
	}
	t.Run("for good", func(t *testing.T) {
		p := start(t, `os.execv(sys.argv[1], sys.argv[1:])`, program, "-1")
		time.Sleep(100 * time.Millisecond)
		_, err := kernel.Checkpoint(p.pid, io.Discard, kernel.CheckpointOptions{Tree: true})
		require.ErrorContains(t, err, "it waits for a child made by vfork to execute a program or to end")
		p.finish()
	})
}
