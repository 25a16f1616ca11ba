package kernel

import (
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// unixInfo is what sock_diag(7) says of a UNIX socket.
type unixInfo struct {
	state    uint8
	shutdown uint8
	hasPeer  bool
	peer     uint32   // inode; 0 if the peer is none that a process has open
	waiting  []uint32 // of a listening socket: inodes of clients that wait to be accepted
	rqueue   uint32
	backlog  uint32
	file     uint32 // inode of the path that it is bound to; 0
	dev      uint32 // device of that, as the kernel numbers it
}

// unixSockets lists the UNIX sockets of a network namespace by inode.
// sock is a NETLINK_SOCK_DIAG socket of it.
func unixSockets(sock int) (map[uint32]*unixInfo, error) {
	const (
		sockDiagByFamily = 20
		show             = 0x1f // name, vfs, peer, icons, rqlen
	)
	b := make([]byte, 24)
	b[0] = unix.AF_UNIX
	hostOrder.PutUint32(b[4:], ^uint32(0)) // all states
	hostOrder.PutUint32(b[12:], show)
	list := make(map[uint32]*unixInfo)
	err := dumpNetlink(sock, sockDiagByFamily, b, func(kind uint16, m []byte) {
		if kind == sockDiagByFamily && len(m) >= 16 {
			ino, info := parseUnixDiag(m)
			list[ino] = info
		}
	})
	if err != nil {
		return nil, fmt.Errorf("sock_diag (the kernel needs CONFIG_UNIX_DIAG): %w", err)
	}
	return list, nil
}

// parseUnixDiag parses a struct unix_diag_msg and its attributes
// (include/uapi/linux/unix_diag.h).
func parseUnixDiag(b []byte) (uint32, *unixInfo) {
	const (
		attrVFS      = 1
		attrPeer     = 2
		attrIcons    = 3
		attrRQLen    = 4
		attrShutdown = 6
	)
	info := &unixInfo{state: b[2]}
	ino := hostOrder.Uint32(b[4:])
	netlinkAttributes(b[16:], func(kind uint16, v []byte) {
		switch {
		case kind == attrPeer && len(v) >= 4:
			info.hasPeer, info.peer = true, hostOrder.Uint32(v)
		case kind == attrVFS && len(v) >= 8:
			info.file, info.dev = hostOrder.Uint32(v), hostOrder.Uint32(v[4:])
		case kind == attrRQLen && len(v) >= 8:
			info.rqueue, info.backlog = hostOrder.Uint32(v), hostOrder.Uint32(v[4:])
		case kind == attrShutdown && len(v) >= 1:
			info.shutdown = v[0]
		case kind == attrIcons:
			for ; len(v) >= 4; v = v[4:] {
				info.waiting = append(info.waiting, hostOrder.Uint32(v))
			}
		}
	})
	return ino, info
}

// Protocols of netlink(7).
const (
	netlinkRoute     = 0
	netlinkSockDiag  = 4
	netlinkNetfilter = 12
)

// netlinkSocket opens a netlink socket in the network namespace of a process.
// Where that is not this program's, the process is made to open it.
func (p *process) netlinkSocket(protocol int) (own int, err error) {
	kind := unix.SOCK_RAW | unix.SOCK_CLOEXEC
	ours, err := os.Readlink("/proc/self/ns/net")
	if err == nil {
		var theirs string
		if theirs, err = os.Readlink(procPath(p.pid, "ns/net")); err == nil && ours == theirs {
			fd, err := unix.Socket(unix.AF_NETLINK, kind, protocol)
			if err != nil {
				return -1, fmt.Errorf("netlink: %w", err)
			}
			return fd, nil
		}
	}
	own = -1
	pidfd, err := unix.PidfdOpen(p.pid, 0)
	if err != nil {
		return -1, err
	}
	defer unix.Close(pidfd)
	if p.loan.task == nil {
		if err := p.borrow(p.leader()); err != nil {
			return -1, err
		}
		defer func() { err = firstError(err, p.giveBack()) }()
	}
	err = p.callForDescriptor(func(fd uint64) (err error) {
		own, err = pidfdGetfd(pidfd, int(fd))
		return err
	}, sysSocket, unix.AF_NETLINK, uint64(kind), uint64(protocol))
	if err != nil {
		err = fmt.Errorf("netlink: %w", err)
	}
	return own, err
}

// sockaddrBy calls getsockname(2) or getpeername(2) and returns the address as
// the kernel gave it; nil if there is none.
func sockaddrBy(trap uintptr, fd int) []byte {
	var b [128]byte
	n := uint32(len(b))
	_, _, e := unix.Syscall(trap, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(unsafe.Pointer(&n)))
	if e != 0 || n <= 2 || int(n) > len(b) {
		return nil
	}
	return append([]byte(nil), b[:n]...)
}

// getOption reads an option of a socket; false if the socket has none of that
// name.
func getOption(fd int, level, name uint32, size int) ([]byte, bool) {
	b := make([]byte, size)
	n := uint32(size)
	_, _, e := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), uintptr(level), uintptr(name),
		uintptr(unsafe.Pointer(&b[0])), uintptr(unsafe.Pointer(&n)), 0)
	if e != 0 || int(n) > size {
		return nil, false
	}
	return b[:n], true
}
