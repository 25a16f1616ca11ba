package vmtests

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"syscall"

	"github.com/hugelgupf/vmtest/qemu"
)

// socketPair makes a connection, and the file by which another process gets its
// other end.
func socketPair(name string) (ours net.Conn, theirs *os.File, err error) {
	pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("socketpair: %w", err)
	}
	f := os.NewFile(uintptr(pair[0]), name)
	theirs = os.NewFile(uintptr(pair[1]), name)
	ours, err = net.FileConn(f)
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, nil, errors.Join(err, theirs.Close())
	}
	return ours, theirs, nil
}

// withSocket gives QEMU the other end of a connection as a character device, and
// options that name it.
func withSocket(f *os.File, name string, args func(chardev string) []string) qemu.Fn {
	return func(alloc *qemu.IDAllocator, o *qemu.Options) error {
		id := alloc.ID(name)
		o.AppendQEMU("-chardev", fmt.Sprintf("socket,id=%s,fd=%d", id, o.AddFile(f)))
		o.AppendQEMU(args(id)...)
		return nil
	}
}

// monitor is a connection to QEMU's monitor, as docs/interop/qmp-spec of QEMU has
// it.
type monitor struct {
	net.Conn
	replies *json.Decoder

	mu    sync.Mutex
	ready bool // it takes commands
}

func newMonitor(c net.Conn) *monitor { return &monitor{Conn: c, replies: json.NewDecoder(c)} }

// withMonitor connects a monitor to f, a socket.
func withMonitor(f *os.File) qemu.Fn {
	return withSocket(f, "monitor", func(chardev string) []string {
		return []string{"-mon", "mode=control,chardev=" + chardev}
	})
}

// do has QEMU carry out a command without arguments.
func (m *monitor) do(command string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.ready {
		if err := m.execute("qmp_capabilities"); err != nil {
			return err
		}
		m.ready = true
	}
	return m.execute(command)
}

func (m *monitor) execute(command string) error {
	if err := json.NewEncoder(m).Encode(map[string]string{"execute": command}); err != nil {
		return err
	}
	for {
		var reply struct {
			Return json.RawMessage
			Error  *struct{ Desc string }
		}
		switch err := m.replies.Decode(&reply); {
		case err != nil:
			return fmt.Errorf("QEMU's monitor: %s: %w", command, err)
		case reply.Error != nil:
			return fmt.Errorf("QEMU's monitor: %s: %s", command, reply.Error.Desc)
		case reply.Return != nil:
			return nil
		}
		// The greeting, or an event.
	}
}
