package kernel_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"cr/kernel"
)

// raceRounds is how many restarts there are in a race.
func raceRounds(t *testing.T) int {
	t.Helper()
	s := os.Getenv("CR_TEST_ROUNDS")
	if s == "" {
		return 40
	}
	n, err := strconv.Atoi(s)
	require.NoError(t, err)
	return n
}

// opened watches a file, and returns what reports whether anybody has opened it.
func opened(t *testing.T, path string) func() bool {
	t.Helper()
	fd, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	require.NoError(t, err)
	t.Cleanup(func() { unix.Close(fd) })
	_, err = unix.InotifyAddWatch(fd, path, unix.IN_OPEN)
	require.NoError(t, err)
	return func() bool {
		n, err := unix.Read(fd, make([]byte, 4096))
		return err == nil && n > 0
	}
}

// TestHostileRace restarts an image while its files are exchanged for symbolic
// links to files of root's, and back, all the time: between any look at a file
// and its use it can become the other. A user's restart never opens root's file,
// nor has it opened; root's never ends up with the file that the link leads to.
func TestHostileRace(t *testing.T) {
	needs(t, "CAP_SETUID", unix.CAP_SETUID)
	adopting(t)
	path := buildWaiter(t)
	for _, user := range []uint32{nobody, 0} {
		t.Run(fmt.Sprint(user), func(t *testing.T) {
			h := newHostileCase(t, user, wwwData)
			image := h.saved()
			require.NoError(t, os.WriteFile(h.secret+"/log", []byte("KEPT\n"), 0o600))
			names := map[string]string{"file": h.secret + "/read", "log": h.secret + "/log"}
			var watches []func() bool
			for name, secret := range names {
				// It is as large and as old.
				st, err := os.Stat(filepath.Join(h.dir, name))
				require.NoError(t, err)
				require.NoError(t, os.Chtimes(secret, st.ModTime(), st.ModTime()))
				require.NoError(t, os.Symlink(secret, filepath.Join(h.dir, name+".link")))
				watches = append(watches, opened(t, secret))
			}
			stop, stopped := make(chan struct{}), make(chan int)
			go func() {
				n := 0
				for {
					for name := range names {
						p := filepath.Join(h.dir, name)
						if unix.Renameat2(unix.AT_FDCWD, p, unix.AT_FDCWD, p+".link", unix.RENAME_EXCHANGE) == nil {
							n++
						}
					}
					select {
					case <-stop:
						stopped <- n
						return
					default:
						time.Sleep(time.Duration(n%50) * 400 * time.Microsecond)
					}
				}
			}()
			refused, restarted := map[unix.Errno]int{}, 0
			var w *waiter
			n := 0
			for least := raceRounds(t); n < least || (restarted == 0 || len(refused) == 0) && n < 100*least; n++ {
				if w == nil {
					w = startWaiter(t, path, &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: user, Gid: user}})
				}
				count := w.word(countAt)
				answered, err := kernel.RestartInto(w.pid, bytes.NewReader(image), kernel.RestartOptions{})
				if err != nil {
					require.NotErrorIs(t, err, kernel.ErrKilled)
					require.Contains(t, []unix.Errno{unix.EACCES, unix.ESTALE}, kernel.Errno(err), "%v", err)
					require.Empty(t, w.unharmed(count, answered, err), "after: %v", err)
					refused[kernel.Errno(err)]++
					continue
				}
				restarted++
				for _, pid := range descendants(w.pid) {
					for _, fd := range numbers(fmt.Sprintf("/proc/%d/fd", pid)) {
						to, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", pid, fd))
						if os.IsNotExist(err) {
							continue // one that the caller had made ends by itself
						}
						require.NoError(t, err)
						for _, secret := range names {
							require.NotEqual(t, secret, strings.TrimSuffix(to, " (deleted)"), "descriptor %d of pid %d", fd, pid)
						}
					}
				}
				w.end()
				w = nil
			}
			close(stop)
			swaps := <-stopped
			if user != 0 {
				for _, watch := range watches {
					require.False(t, watch(), "a file of root's was opened")
				}
			}
			b, err := os.ReadFile(h.secret + "/log")
			require.NoError(t, err)
			require.Equal(t, "KEPT\n", string(b))
			require.NotZero(t, restarted)
			require.NotEmpty(t, refused)
			t.Logf("user %d: %d rounds, %d exchanges: %d restarted, with the right files; refused: %v", user, n, swaps, restarted, refused)
		})
	}
}
