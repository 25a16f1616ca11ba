package kernel

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"cr/regset"
)

// System V shared memory, message queues and semaphores belong to their IPC
// namespace, and stay when the processes that use them are gone.

// sysvObject is a line of a file of /proc/sysvipc, by the heading of its columns.
type sysvObject map[string]int64

// readSysV reads the objects of a kind in this program's IPC namespace, by their
// number; none if the kernel has no such objects.
func readSysV(kind string) (map[int32]sysvObject, error) { return sysvObjects(kind, os.ReadFile) }

// sysvObjects does the same for the IPC namespace of whoever opens files by read.
func sysvObjects(kind string, read func(path string) ([]byte, error)) (map[int32]sysvObject, error) {
	path := "/proc/sysvipc/" + kind
	b, err := read(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	list := make(map[int32]sysvObject)
	lines := strings.Split(string(b), "\n")
	heads := strings.Fields(lines[0])
	for _, line := range lines[1:] {
		f := strings.Fields(line)
		if len(f) < len(heads) {
			continue // the end
		}
		o := make(sysvObject, len(heads))
		for i, head := range heads {
			base := 10
			if head == "perms" {
				base = 8
			}
			if o[head], err = strconv.ParseInt(f[i], base, 64); err != nil {
				return nil, fmt.Errorf("%s: %q: %w", path, line, err)
			}
		}
		list[int32(o[heads[1]])] = o
	}
	return list, nil
}

// sysvKind is one of the two kinds that hold no memory.
type sysvKind struct {
	name   string // in /proc/sysvipc
	what   string
	option string // of ipcrm(1)
	get    sysno
	ctl    sysno
	nr     uintptr // of ctl, for this program
	sub    bool    // ctl takes the number of a semaphore too
}

var (
	sysvQueue = &sysvKind{"msg", "System V message queue", "-q", sysMsgget, sysMsgctl, unix.SYS_MSGCTL, false}
	sysvSet   = &sysvKind{"sem", "System V semaphores", "-s", sysSemget, sysSemctl, unix.SYS_SEMCTL, true}
)

// Commands of msgctl(2) and semctl(2), and flags of the calls.
const (
	ipcRmid = 0
	ipcSet  = 1
	ipcStat = 2

	semGetPID  = 11
	semGetAll  = 13
	semGetNcnt = 14
	semGetZcnt = 15
	semSetAll  = 17

	ipcCreate    = 0o1000
	ipcExclusive = 0o2000
	ipcNoWait    = 0o4000
	msgCopy      = 0o40000
)

// control has a process make a call about an object.
func (k *sysvKind) control(r *reborn, number int32, command int, arg any) error {
	args := []any{number, command, arg}
	if k.sub {
		args = []any{number, 0, command, arg}
	}
	_, err := r.do(k.ctl, args...)
	return err
}

// sysvDSSize is the most that a struct msqid64_ds or semid64_ds takes.
const sysvDSSize = 256

// limitAt is where msg_qbytes lies in struct msqid64_ds of an ABI (uapi
// asm/msgbuf.h, behind the ipc64_perm of uapi asm/ipcbuf.h).
func limitAt(abi regset.ABI) int {
	switch abi.Machine {
	case regset.EM386:
		return 68
	case regset.EMPPC:
		return 80
	}
	return 88
}
