package main

import (
	"errors"
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"
)

// socketpair makes two connected sockets that keep packets apart.
func socketpair() (ours, theirs int, err error) {
	p, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, -1, fmt.Errorf("socketpair: %w", err)
	}
	return p[0], p[1], nil
}

// maxPacket is the size of the longest packet, in bytes.
const maxPacket = 4096

// send sends one packet, cut to what a packet takes. It does not wait for a
// reader that does not read.
func send(socket int, b []byte) error {
	if len(b) > maxPacket {
		b = b[:maxPacket]
	}
	for {
		err := unix.Sendto(socket, b, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, nil)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// receive waits for one packet; an empty one is the end.
func receive(socket int) ([]byte, error) {
	b := make([]byte, maxPacket)
	for {
		n, err := unix.Read(socket, b)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return nil, err
		}
		return b[:n], nil
	}
}

// sendListener passes a descriptor to another process.
func sendListener(socket, fd int) error {
	if err := unix.Sendmsg(socket, []byte{0}, unix.UnixRights(fd), nil, 0); err != nil {
		return fmt.Errorf("pass the listener on: %w", err)
	}
	return nil
}

// receiveListener waits for the descriptor that sendListener sends; it is -1 if
// the other side ends instead.
func receiveListener(socket int) (int, error) {
	b, rights := make([]byte, 1), make([]byte, unix.CmsgSpace(4))
	for {
		n, size, _, _, err := unix.Recvmsg(socket, b, rights, unix.MSG_CMSG_CLOEXEC)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || n == 0 {
			return -1, err
		}
		messages, err := unix.ParseSocketControlMessage(rights[:size])
		if err != nil {
			return -1, err
		}
		if len(messages) != 1 {
			return -1, fmt.Errorf("%d control messages instead of the listener", len(messages))
		}
		fds, err := unix.ParseUnixRights(&messages[0])
		if err != nil || len(fds) != 1 {
			return -1, fmt.Errorf("%d descriptors instead of the listener: %w", len(fds), err)
		}
		return fds[0], nil
	}
}

// fork starts a program with the standard streams and all other descriptors
// that are inherited by execve.
func fork(path string, argv, env []string) (int, error) {
	pid, err := syscall.ForkExec(path, argv, &syscall.ProcAttr{Env: env, Files: []uintptr{0, 1, 2}})
	if err != nil {
		return 0, fmt.Errorf("start %s: %w", path, err)
	}
	return pid, nil
}

// await waits for a child to end.
func await(pid int) (w unix.WaitStatus, err error) {
	for {
		_, err = unix.Wait4(pid, &w, 0, nil)
		if !errors.Is(err, unix.EINTR) {
			return w, err
		}
	}
}
