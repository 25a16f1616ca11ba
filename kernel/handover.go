package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"cr/image"
	"cr/sys"
)

// A task of a keeper's cannot be traced by another program, so another that is to
// checkpoint it asks the keeper's: through a socket whose name has the keeper's pid.
// The image comes back through a pipe, so that the keeper writes nothing to a file
// by authority of its own.
//
// All messages are packets with a type in the first byte.
const (
	msgSave     = 's' // to the keeper: flags, the creator; a pidfd and the pipe come with it
	msgProgress = 'p' // from the keeper: two numbers
	msgWhole    = 'w' // from the keeper: the image is; it waits for
	msgGo       = 'g' // to the keeper: so shall it be
	msgDone     = 'd' // from the keeper: the identifier
	msgFailed   = 'f' // from the keeper: an errno, and what is wrong
)

// Flags of msgSave beyond those of the call.
const (
	saveKill = 1 << 30
	saveStop = 1 << 31
)

// longestMessage is the size of the longest packet, in bytes.
const longestMessage = 4096

// keeperName is the name of the socket of a keeper, in the abstract namespace.
func keeperName(pid int) *unix.SockaddrUnix {
	return &unix.SockaddrUnix{Name: "@cr/keeper/" + strconv.Itoa(pid)}
}

// listen lets other programs ask for checkpoints. One in another network namespace
// cannot, nor can any if something else has the name.
func (k *keeper) listen() error {
	s, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	const backlog = 16
	if err := firstError(unix.Bind(s, keeperName(unix.Getpid())), unix.Listen(s, backlog)); err != nil {
		unix.Close(s)
		return fmt.Errorf("listen for who checkpoints its programs: %w", err)
	}
	go func() {
		for {
			conn, _, err := unix.Accept4(s, unix.SOCK_CLOEXEC)
			if errors.Is(err, unix.EINTR) || errors.Is(err, unix.ECONNABORTED) {
				continue
			}
			if err != nil {
				k.log(fmt.Errorf("accept who checkpoints its programs: %w", err))
				return
			}
			handingOver.RLock()
			go func() {
				defer handingOver.RUnlock()
				k.log(handOver(conn))
				unix.Close(conn)
			}()
		}
	}()
	return nil
}

// handingOver is held by each checkpoint that another program asks for.
var handingOver sync.RWMutex

// FinishHandovers lets those who have asked for a checkpoint, by which the last task
// of a keeper may have been killed, get their answer before this program ends.
func FinishHandovers() {
	const patience = 5 * time.Second
	done := make(chan struct{})
	go func() {
		handingOver.Lock() // when nobody is left
		defer handingOver.Unlock()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(patience):
	}
}

// connectKeeper connects to the keeper that traces a task, by its tid. It is -1
// if it is none.
func connectKeeper(tracer int) int {
	st, err := readStatus(tracer)
	if err != nil || st.tgid == unix.Getpid() {
		return -1
	}
	s, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1
	}
	if err := unix.Connect(s, keeperName(st.nstgid[len(st.nstgid)-1])); err == nil {
		// Anybody can take the name.
		peer, err := unix.GetsockoptUcred(s, unix.SOL_SOCKET, unix.SO_PEERCRED)
		if err == nil && int(peer.Pid) == st.tgid {
			return s
		}
	}
	unix.Close(s)
	return -1
}

// handOver carries out a checkpoint that another program asks for.
func handOver(conn int) error {
	b, fds, err := receiveMessage(conn)
	files := make([]*os.File, len(fds))
	for i, fd := range fds {
		files[i] = os.NewFile(uintptr(fd), "descriptor from who asks for a checkpoint")
		defer files[i].Close()
	}
	if err != nil || len(b) == 0 {
		return err
	}
	if b[0] != msgSave || len(b) < 5 || len(files) != 2 {
		return fmt.Errorf("malformed message %q asks for a checkpoint", b)
	}
	r := saveRequest{conn: conn, flags: binary.LittleEndian.Uint32(b[1:]), creator: string(b[5:]), process: files[0], pipe: files[1]}
	id, err := r.save()
	if err != nil {
		return sendMessage(conn, append(putNumbers(msgFailed, uint64(Errno(err))), err.Error()...))
	}
	return sendMessage(conn, putNumbers(msgDone, id))
}

// saveRequest is a msgSave.
type saveRequest struct {
	conn          int
	flags         uint32
	creator       string
	process, pipe *os.File
}

// save checkpoints the process.
func (r *saveRequest) save() (id uint64, err error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(r.pipe.Fd()), &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFIFO {
		return 0, fmt.Errorf("the image is to go to what is no pipe: %w", unix.EINVAL)
	}
	info, err := readFdinfo(unix.Getpid(), int(r.process.Fd()))
	if err != nil {
		return 0, err
	}
	number, _ := info.value("Pid")
	pid, err := strconv.Atoi(number)
	if err != nil || pid <= 0 {
		return 0, fmt.Errorf("the process is gone, or out of sight: %w", unix.ESRCH)
	}
	o := CheckpointOptions{Tree: r.flags&sys.Tree != 0, Kill: r.flags&saveKill != 0, Stop: r.flags&saveStop != 0,
		Whole: r.whole, Creator: r.creator}
	o.Progress = func(done, total uint64) {
		_ = sendMessage(r.conn, putNumbers(msgProgress, done, total)) // r.whole finds out
	}
	// Once more when the tasks are frozen: see Intercept.checkpoint.
	may := func() error { return r.may(pid, o.Tree) }
	if err := may(); err != nil {
		return 0, err
	}
	return Checkpoint(pid, &checkedWriter{r.pipe, may}, o)
}

// whole lets who asks for the image know that it has been written, and waits until
// that one has it.
func (r *saveRequest) whole() error {
	// The reader has all when nobody can write any more.
	if err := r.pipe.Close(); err != nil {
		return err
	}
	if err := sendMessage(r.conn, []byte{msgWhole}); err != nil {
		return err
	}
	b, _, err := receiveMessage(r.conn)
	if err == nil && (len(b) != 1 || b[0] != msgGo) {
		err = fmt.Errorf("who asked for the checkpoint has given up: %w", unix.ECANCELED)
	}
	return err
}

// may makes sure that who asks may checkpoint a process: by the rules of ptrace, or
// as root, of whom a keeper that is not may learn nothing. Users may execute a
// set-user-ID program after they have asked, which has a privilege that they do not: so
// it is who they were when they asked that counts, and no privilege does.
func (r *saveRequest) may(pid int, descendants bool) error {
	peer, err := unix.GetsockoptUcred(r.conn, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return err
	}
	pids, err := members(pid, descendants)
	if err != nil {
		return err
	}
	for _, p := range pids {
		if p == int(peer.Pid) {
			return &RefusedError{PID: pid, Kind: "process", Errno: unix.EBUSY,
				Reason: fmt.Sprintf("its descendant %d is the one that saves it", p),
				Hint:   "do so from outside of it, or save it without its descendants"}
		}
	}
	if peer.Uid == 0 && os.Geteuid() != 0 {
		return nil
	}
	c, err := openCaller(int(peer.Pid))
	if err != nil {
		return err
	}
	defer c.close()
	// If it is there still, its pid has not passed to another.
	fds := []unix.PollFd{{Fd: int32(r.conn), Events: unix.POLLRDHUP}}
	if err := pollNow(fds); err != nil {
		return err
	}
	if fds[0].Revents&(unix.POLLHUP|unix.POLLRDHUP) != 0 {
		return fmt.Errorf("who asked for the checkpoint is gone: %w", unix.ECANCELED)
	}
	if peer.Uid != 0 {
		if err := mayAs(peer, c, pids); err != nil {
			return err
		}
	}
	err = c.mayCheckpoint(pid, descendants)
	if errors.Is(err, fs.ErrPermission) && !errors.As(err, new(*AccessError)) {
		err = &AccessError{int(peer.Pid), pid, "its kernel side may not look at the one that asks"}
	}
	return err
}

// mayAs makes sure that who asked is the same user still, and that processes are that
// user's and have no privilege.
func mayAs(peer *unix.Ucred, c *caller, pids []int) error {
	who := image.Creds{UID: peer.Uid, GID: peer.Gid}
	if !sameIDs(&who, &c.status.creds, true) {
		return &AccessError{int(peer.Pid), pids[0], "it has become another user since it asked"}
	}
	for _, pid := range pids {
		s, err := readStatus(pid)
		if errors.Is(err, unix.ESRCH) && pid != pids[0] {
			continue
		}
		if err != nil {
			return err
		}
		if !sameIDs(&who, &s.creds, true) || s.creds.Permitted != 0 {
			return &AccessError{int(peer.Pid), pid, "it belongs to another user or group, or has a privilege"}
		}
	}
	return nil
}

// checkedWriter asks whether it may before it writes for the first time.
type checkedWriter struct {
	w     io.Writer
	first func() error
}

// Write writes all of b.
func (c *checkedWriter) Write(b []byte) (int, error) {
	if c.first != nil {
		if err := c.first(); err != nil {
			return 0, err
		}
		c.first = nil
	}
	return c.w.Write(b)
}

// checkpointByKeeper has a keeper checkpoint a process of its own.
func checkpointByKeeper(conn, pid int, w io.Writer, o CheckpointOptions) (id uint64, err error) {
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return 0, fmt.Errorf("open pid %d: %w", pid, err)
	}
	defer unix.Close(pidfd)
	pr, pw, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	defer pr.Close()
	flags := uint32(0)
	for _, f := range []struct {
		set  bool
		flag uint32
	}{{o.Tree, sys.Tree}, {o.Kill, saveKill}, {o.Stop, saveStop}} {
		if f.set {
			flags |= f.flag
		}
	}
	var b [5]byte
	b[0] = msgSave
	binary.LittleEndian.PutUint32(b[1:], flags)
	err = unix.Sendmsg(conn, append(b[:], o.Creator...), unix.UnixRights(pidfd, int(pw.Fd())), nil, unix.MSG_NOSIGNAL)
	pw.Close()
	if err != nil {
		return 0, fmt.Errorf("ask the kernel side of pid %d: %w", pid, err)
	}
	copied := make(chan error, 1)
	go func() {
		_, err := io.Copy(w, pr)
		pr.Close() // then the keeper gives up
		copied <- err
	}()
	for {
		b, _, err := receiveMessage(conn)
		switch {
		case err != nil:
			return 0, err
		case len(b) == 17 && b[0] == msgProgress:
			if o.Progress != nil {
				o.Progress(number(b, 0), number(b, 1))
			}
		case len(b) == 1 && b[0] == msgWhole:
			if err := <-copied; err != nil {
				return 0, err
			}
			copied <- nil
			if o.Whole != nil {
				if err := o.Whole(); err != nil {
					return 0, err
				}
			}
			if err := sendMessage(conn, []byte{msgGo}); err != nil {
				return 0, err
			}
		case len(b) == 9 && b[0] == msgDone:
			return number(b, 0), nil
		case len(b) >= 9 && b[0] == msgFailed:
			if err := <-copied; err != nil {
				return 0, err
			}
			return 0, &keeperError{string(b[9:]), unix.Errno(number(b, 0))}
		default:
			return 0, fmt.Errorf("the kernel side of pid %d has ended, or makes no sense: %q: %w", pid, b, unix.ESRCH)
		}
	}
}

// keeperError is an error of another program's keeper.
type keeperError struct {
	text  string
	errno unix.Errno
}

// Error is the text of the error there.
func (e *keeperError) Error() string { return e.text }

// Unwrap returns its errno.
func (e *keeperError) Unwrap() error { return e.errno }

func putNumbers(kind byte, list ...uint64) []byte {
	b := make([]byte, 1+8*len(list))
	b[0] = kind
	for i, n := range list {
		binary.LittleEndian.PutUint64(b[1+8*i:], n)
	}
	return b
}

func number(b []byte, i int) uint64 { return binary.LittleEndian.Uint64(b[1+8*i:]) }

func sendMessage(conn int, b []byte) error {
	if len(b) > longestMessage {
		b = b[:longestMessage]
	}
	for {
		err := unix.Sendto(conn, b, unix.MSG_NOSIGNAL, nil)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// receiveMessage waits for a message; it is empty if the other side has ended.
func receiveMessage(conn int) (b []byte, fds []int, err error) {
	b, rights := make([]byte, longestMessage), make([]byte, unix.CmsgSpace(2*4))
	for {
		n, size, _, _, err := unix.Recvmsg(conn, b, rights, unix.MSG_CMSG_CLOEXEC)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return nil, nil, err
		}
		messages, err := unix.ParseSocketControlMessage(rights[:size])
		if err != nil {
			return nil, nil, err
		}
		for i := range messages {
			list, err := unix.ParseUnixRights(&messages[i])
			if err != nil {
				return nil, nil, err
			}
			fds = append(fds, list...)
		}
		return b[:n], fds, nil
	}
}
