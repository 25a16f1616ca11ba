package kernel_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"cr/kernel"
)

// TestMarkerUnseen saves programs that would notice a signal that the kernel side
// has them send themselves, whatever they do with signals.
func TestMarkerUnseen(t *testing.T) {
	for what, script := range map[string]string{
		"all are caught": `
for s in set(range(1, 32)) - {9, 19}: signal.signal(s, lambda s, f: seen.append(s))
`,
		"one is waited for": `
fd = libc.signalfd(-1, ctypes.byref(ctypes.c_uint64(1 << 22 | 1 << 27)), os.O_NONBLOCK)
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGURG, signal.SIGWINCH})
signal.signal(signal.SIGCHLD, lambda s, f: seen.append(s))
def more():
    try: seen.append(os.read(fd, 128))
    except BlockingIOError: pass
`,
		"another thread waits for all": `
import threading
def wait(): seen.append(signal.sigwait(set(range(1, 32)) - {9, 19}))
signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 32))
threading.Thread(target=wait, daemon=True).start()
`,
	} {
		t.Run(what, func(t *testing.T) {
			p := start(t, `
seen = []
def more(): pass
`+script+`
ready()
more()
same(seen, [])
same(signal.sigpending(), set())
print("ok")
`)
			for i := 0; i < 20; i++ {
				p.checkpoint(kernel.CheckpointOptions{})
			}
			p.finish()
		})
	}
}

// TestMarkerFromElsewhere saves a program that gets the signal from elsewhere all
// the time, which is not the one that it has sent itself.
func TestMarkerFromElsewhere(t *testing.T) {
	p := start(t, `
count = 0
def urgent(s, f):
    global count
    count += 1
signal.signal(signal.SIGURG, urgent)
ready()
assert count > 0
print("ok")
`)
	end := make(chan struct{})
	done := make(chan error)
	go func() {
		for {
			select {
			case <-end:
				done <- nil
				return
			default:
			}
			for _, sig := range []unix.Signal{unix.SIGURG, unix.SIGWINCH, unix.SIGCHLD} {
				if err := unix.Kill(p.pid, sig); err != nil {
					done <- err
					<-end
					return
				}
			}
			time.Sleep(20 * time.Microsecond)
		}
	}()
	for i := 0; i < 30; i++ {
		p.checkpoint(kernel.CheckpointOptions{})
	}
	close(end)
	require.NoError(t, <-done)
	p.finish()
}

// TestMarkerRefused saves and restarts a program where no task can send itself a
// signal: it makes one call after the other.
func TestMarkerRefused(t *testing.T) {
	asked, others := 0, 0
	kernel.FailCalls(func(call string) unix.Errno {
		if call == "tgkill" {
			asked++
			return unix.EACCES
		}
		others++
		return 0
	})
	defer kernel.FailCalls(nil)
	p := start(t, `
import threading
threading.Thread(target=threading.Event().wait, daemon=True).start()
ready()
print("ok")
`)
	saved := p.checkpoint(kernel.CheckpointOptions{})
	p.finish()
	if kernel.HasLists() {
		require.Equal(t, 1, asked, "times that a process was asked")
	}
	restart(t, saved).finish()
	require.Greater(t, others, 20)
}
