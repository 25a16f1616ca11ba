package kernel_test

import (
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"cr/kernel"
)

// TestEndsAtOnce restarts a program of many threads whose first thread ends it
// as soon as it runs, while others are still traced.
func TestEndsAtOnce(t *testing.T) {
	p := start(t, `
import threading
for i in range(60): threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
print("ready", flush=True)
os.read(0, 1)
os._exit(3)
`)
	image := p.checkpoint(kernel.CheckpointOptions{Kill: true})
	_, _ = p.end()
	for i := 0; i < 8; i++ {
		q := restart(t, image, func(o *kernel.LaunchOptions) {
			null, err := os.Open(os.DevNull)
			require.NoError(t, err)
			t.Cleanup(func() { null.Close() })
			o.Files[0] = null
		})
		status := make(chan unix.WaitStatus, 1)
		go func() {
			ws, _ := q.end()
			status <- ws
		}()
		select {
		case ws := <-status:
			require.Equal(t, 3, ws.ExitStatus())
		case <-time.After(time.Minute):
			require.FailNow(t, "nobody is told that the program has ended")
		}
	}
}
