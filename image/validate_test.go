package image_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"cr/image"
	"cr/image/imagetest"
	"cr/regset"
)

func TestValid(t *testing.T) {
	for _, abi := range imagetest.ABIs {
		require.NoError(t, imagetest.Image(abi).Validate(), abi)
	}
	// What a rule could forbid by mistake.
	for name, change := range map[string]func(*image.Image){
		"32-bit tasks of a 64-bit kernel": func(m *image.Image) {
			for _, c := range m.CPUs {
				c.State.ABI = regset.I386
			}
		},
		"vsyscall page": func(m *image.Image) {
			m.MMs[0].VMAs = append(m.MMs[0].VMAs, image.VMA{
				Start: 0xffffffffff600000, End: 0xffffffffff601000, Prot: 4, Kind: image.Vsyscall, Name: "[vsyscall]",
			})
		},
		"a mapping up to the last address": func(m *image.Image) {
			m.MMs[0].VMAs = append(m.MMs[0].VMAs, image.VMA{Start: 1<<56 - 4096, End: 1 << 56})
		},
		"shared memory, signal actions and descriptors of two processes": func(m *image.Image) {
			m.Processes[1].MM, m.Processes[1].Sighand = 1, 1
		},
		"descriptors out of order": func(m *image.Image) {
			f := m.Tables[0].FDs
			f[0], f[1] = f[1], f[0]
		},
		"records out of order": func(m *image.Image) {
			m.Processes[0], m.Processes[1] = m.Processes[1], m.Processes[0]
			m.Files[0], m.Files[3] = m.Files[3], m.Files[0]
		},
		"objects that nothing refers to": func(m *image.Image) {
			m.Files = append(m.Files, &image.File{ID: 50, Path: "/unused"})
			m.MMs = append(m.MMs, &image.MM{ID: 50})
		},
		"no group and no session of this namespace": func(m *image.Image) {
			m.Processes[0].PGID, m.Processes[0].SID, m.Processes[0].PPID = 0, 0, 0
		},
		"named FIFO with contents": func(m *image.Image) {
			m.Files[3] = &image.File{ID: 4, Kind: image.FIFO, Path: "/tmp/fifo", Object: 1}
		},
	} {
		m := imagetest.Image(regset.X86_64)
		change(m)
		require.NoError(t, m.Validate(), name)
	}
}

// invalid has one image for each rule: how a valid image of x86_64 is changed,
// and the record and the reason that the error names.
var invalid = []struct {
	rule   string
	change func(*image.Image)
	want   string
}{
	{"known ABI", func(m *image.Image) { m.Header.ABI.Machine = 40 }, "header: unknown ABI"},
	{"page size is a power of two", func(m *image.Image) { m.Header.PageSize = 4097 }, "header: page size 4097"},
	{"page size not too small", func(m *image.Image) { m.Header.PageSize = 2048 }, "header: page size"},
	{"page size not too large", func(m *image.Image) { m.Header.PageSize = 1 << 19 }, "header: page size"},
	{"number of tasks", func(m *image.Image) { m.Header.Tasks = 4 }, "header: it counts 4 tasks, there are 3"},
	{"no NUL in header strings", func(m *image.Image) { m.Header.Release = "6\x00" }, "header: a string holds a NUL"},
	{"foreground exists", func(m *image.Image) { m.Header.Foreground = 77 }, "header: no process is in group 77 of the foreground"},
	{"root exists", func(m *image.Image) { m.Header.Root = 55 }, "header: root process 55 is missing"},

	{"pid not 0", func(m *image.Image) { m.Processes[1].PID = 0 }, "process 0: identifier out of range"},
	{"pid not too large", func(m *image.Image) { m.Processes[1].PID = 4<<20 + 1 }, "process 4194305: identifier out of range"},
	{"pids are unique", func(m *image.Image) { m.Processes[1].PID = 100 }, "process 100: there are two of it"},
	{"seccomp filter is whole", func(m *image.Image) { m.Seccomps[0].Program = m.Seccomps[0].Program[:7] }, "seccomp 1: a program of 7 bytes"},
	{"seccomp filter is there", func(m *image.Image) { m.Tasks[1].Filters = []uint32{9} }, "task 101: seccomp 9 is missing"},
	{"settings are unique", func(m *image.Image) { m.Tasks[1].Settings = make([]image.Setting, 2) }, "task 101: setting 0 is there twice"},
	{"mask of nodes", func(m *image.Image) { m.Tasks[1].MemPolicy.Nodes = make([]byte, 129) }, "task 101: a mask of nodes of 129 bytes"},
	{"no NUL in cgroups", func(m *image.Image) { m.Processes[0].Cgroup = "\x00" }, "process 100: its cgroup holds a NUL"},
	{"flags of mappings to come", func(m *image.Image) { m.MMs[0].Future = 2 }, "mm 1: mappings to come get flags 0x2"},
	{"segment without a file", func(m *image.Image) { m.Shms[1].Segment.Is = true }, "shm 2: a segment that is a file"},
	{"segment number", func(m *image.Image) { m.Shms[3].Segment.Number = -1 }, "shm 4: segment -1"},
	{"segments are unique", func(m *image.Image) { m.Shms[0].Segment = m.Shms[3].Segment }, "shm 4: segment 3 is there twice"},
	{"descriptors of a thread", func(m *image.Image) { m.Tasks[1].Files = 9 }, "task 101: files 9 is missing"},
	{"descriptors of a thread that a process has too", func(m *image.Image) { m.Tasks[1].Files = 1 }, "task 101: files 1 is not for itself"},
	{"directory of a leader", func(m *image.Image) { m.FSs = append(m.FSs, &image.FS{ID: 9, Cwd: "/", Root: "/"}); m.Tasks[0].FS = 9 }, "task 100: fs 9 is not for itself"},
	{"size of huge pages", func(m *image.Image) { m.MMs[0].VMAs[1].Flags = image.HugePages(4096) }, "mapping 0x10010000-0x10014000: huge pages of 4096 bytes"},
	{"huge pages that are aligned", func(m *image.Image) { m.MMs[0].VMAs[1].Flags = image.HugePages(2 << 20) }, "mapping 0x10010000-0x10014000: not aligned to its huge pages"},
	{"huge pages of a file", func(m *image.Image) { m.MMs[0].VMAs[0].Flags = image.HugePages(8192) }, "huge pages of another kind"},
	{"shared huge pages of what has none", func(m *image.Image) { m.MMs[0].VMAs[2].Flags |= image.HugePages(8192) }, "huge pages of another kind"},
	{"size without huge pages", func(m *image.Image) { m.MMs[0].VMAs[1].Flags = 21 << 26 }, "flags 0x54000000"},
	{"huge shared memory", func(m *image.Image) { m.Shms[1].HugePage = 8192 }, "shm 2: 4096 bytes of huge pages of 8192 bytes"},
	{"huge shared memory that is no memfd", func(m *image.Image) { m.Shms[0].HugePage = 8192 }, "shm 1: 16384 bytes of huge pages of 8192 bytes"},
	{"policy of a mapping", func(m *image.Image) { m.MMs[0].Policies[0].Start += 4096 }, "mm 1: a memory policy of what is mapped at 0x10011000"},
	{"policies are in order", func(m *image.Image) { m.MMs[0].Policies = append(m.MMs[0].Policies, m.MMs[0].Policies[0]) }, "mm 1: a memory policy of what is mapped at 0x10010000"},
	{"nodes of a policy", func(m *image.Image) { m.MMs[0].Policies[0].Policy.Nodes = make([]byte, 129) }, "mm 1: a mask of nodes of 129 bytes"},
	{"number of a queue", func(m *image.Image) { m.Queues[0].IPC.Number = -1 }, "queue 1: number -1"},
	{"numbers of queues are unique", func(m *image.Image) {
		m.Queues = append(m.Queues, &image.Queue{ID: 2, IPC: image.IPC{Number: 32769}})
	}, "queue 2: number 32769 is there twice"},
	{"keys of queues are unique", func(m *image.Image) { m.Queues = append(m.Queues, &image.Queue{ID: 2, IPC: image.IPC{Key: 78}}) }, "queue 2: key 0x4e is there twice"},
	{"mode of a queue", func(m *image.Image) { m.Queues[0].IPC.Mode = 0o1600 }, "queue 1: mode 01600"},
	{"type of a message", func(m *image.Image) { m.Queues[0].Messages[1].Type = 0 }, "queue 1: a message of type 0"},
	{"shares of no mm", func(m *image.Image) { m.Shares[0].MM = 9 }, "shares 9: mm 9 is missing"},
	{"shares of mm 0", func(m *image.Image) { m.Shares[0].MM = 0 }, "shares 0: identifier is 0"},
	{"shares twice", func(m *image.Image) { m.Shares = append(m.Shares, m.Shares[0]) }, "shares 2: there are two of it"},
	{"shared with no mm", func(m *image.Image) { m.Shares[0].List[0].From = 9 }, "shares 2: 4096 bytes at 0x10013000 of mm 9: it is missing"},
	{"shared with itself", func(m *image.Image) { m.Shares[0].List[0].From = 2 }, "of mm 2: they are its own"},
	{"shared in a circle", func(m *image.Image) {
		m.Shares = append(m.Shares, &image.Shares{MM: 1, List: []image.Share{{From: 2, Addr: imagetest.Heap + 0x3000, Len: 4096}}})
	}, "those are another's themselves"},
	{"shared in a chain", func(m *image.Image) {
		third := *m.MMs[1]
		third.ID = 3
		m.MMs = append(m.MMs, &third)
		m.Shares = append(m.Shares, &image.Shares{MM: 3, List: []image.Share{{From: 2, Addr: imagetest.Heap, Len: 4 * 4096}}})
	}, "shares 3: 16384 bytes at 0x10010000 of mm 2: those are another's themselves"},
	{"nothing shared", func(m *image.Image) { m.Shares[0].List[0].Len = 0 }, "not whole pages"},
	{"half a page shared", func(m *image.Image) { m.Shares[0].List[0].Len = 2048 }, "not whole pages"},
	{"shared beyond the last address", func(m *image.Image) { m.Shares[0].List[0].Len = 1<<64 - 4096 }, "not whole pages"},
	{"shared twice", func(m *image.Image) { m.Shares[0].List = append(m.Shares[0].List, m.Shares[0].List[0]) }, "they are there twice, or out of order"},
	{"shared where nothing is mapped", func(m *image.Image) { m.Shares[0].List[0].Len = 2 * 4096 }, "no private memory is mapped there"},
	{"shared where the other maps nothing", func(m *image.Image) { m.MMs[0].VMAs[1].End -= 4096 }, "no private memory is mapped there"},
	{"shared memory by address", func(m *image.Image) { m.Shares[0].List[0].Addr = imagetest.Shm }, "no private memory is mapped there"},
	{"owner of semaphores", func(m *image.Image) { m.Semaphores[0].IPC.UID = ^uint32(0) }, "semaphores 1: it has no owner"},
	{"a set of none", func(m *image.Image) { m.Semaphores[0].Values = nil }, "semaphores 1: a set of 0"},
	{"a set of too many", func(m *image.Image) { m.Semaphores[0].Values = make([]uint32, 32001) }, "semaphores 1: a set of 32001"},
	{"value of a semaphore", func(m *image.Image) { m.Semaphores[0].Values[1] = 32768 }, "semaphores 1: semaphore 1 is 32768"},
	{"one set of namespaces", func(m *image.Image) { m.Namespaces = append(m.Namespaces, m.Namespaces[0]) }, "two sets of namespaces"},
	{"kinds of namespaces", func(m *image.Image) { m.Namespaces[0].Own = 1 }, "namespaces of kinds 0x1"},
	{"no namespaces", func(m *image.Image) { m.Namespaces[0].Own = 0 }, "namespaces of kinds 0x0"},
	{"length of a host name", func(m *image.Image) { m.Namespaces[0].Hostname = strings.Repeat("x", 65) }, "a host or domain name of more than 64 bytes"},
	{"length of a domain name", func(m *image.Image) { m.Namespaces[0].Domainname = strings.Repeat("x", 65) }, "a host or domain name of more than 64 bytes"},
	{"no NUL in a host name", func(m *image.Image) { m.Namespaces[0].Hostname = "a\x00" }, "a host or domain name holds a NUL"},
	{"queues of a namespace that is not there", func(m *image.Image) { m.Namespaces[0].Own &^= image.NewIPC }, "queues of an IPC namespace that is not the processes' own"},
	{"interface of a namespace that is not there", func(m *image.Image) { m.Namespaces[0].Own &^= image.NewNet }, "an interface of a network namespace that is not"},
	{"parameters of a namespace that is not there", func(m *image.Image) {
		m.Namespaces[0].Sysctls[0].Name = "net/core/somaxconn"
		m.Namespaces[0].Own &^= image.NewNet
		m.Namespaces[0].LoopbackUp = false
	}, "parameter \"net/core/somaxconn\" is of none of the namespaces"},
	{"maps of a namespace that is not there", func(m *image.Image) { m.Namespaces[0].Own &^= image.NewUser }, "maps of a user namespace that is not"},
	{"range of no ids", func(m *image.Image) { m.Namespaces[0].UIDs[0].Count = 0 }, "ids 0, outside 1000, 0 of them"},
	{"range of ids", func(m *image.Image) { m.Namespaces[0].GIDs[0].Inside = 1<<32 - 1 }, "ids 4294967295, outside 100, 1 of them"},
	{"ranges of ids", func(m *image.Image) { m.Namespaces[0].UIDs = make([]image.IDRange, 341) }, "a map of 341 ranges of ids"},
	{"mounts of a namespace that is not there", func(m *image.Image) { m.Namespaces[0].Own &^= image.NewMount }, "mounts of a mount namespace that is not"},
	{"type of a mount", func(m *image.Image) { m.Namespaces[0].Mounts[0].Type = "overlay" }, "mount \"/mnt\": a file system of type \"overlay\""},
	{"target of a mount", func(m *image.Image) { m.Namespaces[0].Mounts[0].Target = "/a/../etc" }, "mount \"/a/../etc\": \"none\" at"},
	{"option of a mount", func(m *image.Image) { m.Namespaces[0].Mounts[0].Options = "rw,bind" }, "mount \"/mnt\": its option \"bind\""},
	{"option of a file system", func(m *image.Image) { m.Namespaces[0].Mounts[0].Super = "rw,size=1,x=2" }, "mount \"/mnt\": its option \"x=2\""},
	{"name of a parameter", func(m *image.Image) { m.Namespaces[0].Sysctls[0].Name = "../kernel/core_pattern" }, "parameter \"../kernel/core_pattern\" is of none"},
	{"parameters are unique", func(m *image.Image) { m.Namespaces[0].Sysctls[1].Name = "kernel/msgmax" }, "parameter \"kernel/msgmax\" is of none of the namespaces, or there twice"},
	{"value of a parameter", func(m *image.Image) { m.Namespaces[0].Sysctls[0].Value = "1\n2" }, "parameter kernel/msgmax is \"1\\n2\""},
	{"name of a message queue", func(m *image.Image) { m.Namespaces[0].MQueues[0].Name = "a/b" }, "a message queue \"a/b\""},
	{"message queues are unique", func(m *image.Image) {
		m.Namespaces[0].MQueues = append(m.Namespaces[0].MQueues, m.Namespaces[0].MQueues[0])
	}, "a message queue \"jobs\", or it is there twice"},
	{"mode of a message queue", func(m *image.Image) { m.Namespaces[0].MQueues[0].Mode = 0o4777 }, "message queue \"jobs\": mode 04777"},
	{"size of a message queue", func(m *image.Image) { m.Namespaces[0].MQueues[0].MaxMessages = 0 }, "message queue \"jobs\": 0 messages of 8192 bytes"},
	{"tids are unique", func(m *image.Image) { m.Tasks[1].TID = 100 }, "task 100: there are two of it"},
	{"tids in range", func(m *image.Image) { m.Tasks[1].TID = 0 }, "task 0: identifier out of range"},
	{"one cpu per task", func(m *image.Image) { m.CPUs[1].TID = 100 }, "cpu 100: there are two of it"},
	{"mm ids are unique", func(m *image.Image) { m.MMs[1].ID = 1 }, "mm 1: there are two of it"},
	{"fs ids are unique", func(m *image.Image) { m.FSs = append(m.FSs, m.FSs[0]) }, "fs 1: there are two of it"},
	{"sighand ids are unique", func(m *image.Image) { m.Sighands[1].ID = 1 }, "sighand 1: there are two of it"},
	{"files ids are unique", func(m *image.Image) { m.Tables = append(m.Tables, m.Tables[0]) }, "files 1: there are two of it"},
	{"file ids are unique", func(m *image.Image) { m.Files[1].ID = 1 }, "file 1: there are two of it"},
	{"pipe ids are unique", func(m *image.Image) { m.Pipes = append(m.Pipes, m.Pipes[0]) }, "pipe 1: there are two of it"},
	{"shm ids are unique", func(m *image.Image) { m.Shms[1].ID = 1 }, "shm 1: there are two of it"},
	{"id not 0", func(m *image.Image) { m.Files[1].ID = 0 }, "file 0: identifier is 0"},

	{"process of a task", func(m *image.Image) { m.Tasks[1].PID = 77 }, "task 101: process 77 is missing"},
	{"zombies have no task", func(m *image.Image) { m.Tasks[1].PID = 103 }, "task 101: process 103 is a zombie"},
	{"a thread is no process", func(m *image.Image) { m.Processes[2].PID = 101 }, "task 101: a process has the same identifier"},
	{"a task has a cpu", func(m *image.Image) { m.CPUs = m.CPUs[:2] }, "task 102: its cpu record is missing"},
	{"a cpu has a task", func(m *image.Image) {
		m.CPUs = append(m.CPUs, &image.CPU{TID: 9, State: m.CPUs[0].State})
	}, "cpu 9: task 9 is missing"},
	{"comm of a task", func(m *image.Image) { m.Tasks[0].Comm = "0123456789abcdef" }, "task 100: comm"},
	{"comm without NUL", func(m *image.Image) { m.Tasks[0].Comm = "a\x00b" }, "task 100: comm"},
	{"parent death signal", func(m *image.Image) { m.Tasks[0].PDeathSig = 65 }, "task 100: parent death signal 65"},
	{"nice", func(m *image.Image) { m.Tasks[0].Sched.Nice = 20 }, "task 100: nice 20"},
	{"nice below", func(m *image.Image) { m.Tasks[0].Sched.Nice = -21 }, "task 100: nice -21"},
	{"priority", func(m *image.Image) { m.Tasks[0].Sched.Priority = 100 }, "task 100: priority 100"},
	{"user id -1", func(m *image.Image) { m.Tasks[0].Creds.SUID = ^uint32(0) }, "task 100: user or group id is -1"},
	{"group id -1", func(m *image.Image) { m.Tasks[0].Creds.FSGID = ^uint32(0) }, "task 100: user or group id is -1"},
	{"supplementary group -1", func(m *image.Image) { m.Tasks[0].Creds.Groups[1] = ^uint32(0) }, "task 100: supplementary group is -1"},
	{"number of groups", func(m *image.Image) { m.Tasks[0].Creds.Groups = make([]uint32, 65537) }, "task 100: 65537 groups"},
	{"siginfo of a task", func(m *image.Image) { m.Tasks[1].Pending[1] = make([]byte, 127) }, "task 101: siginfo of 127 bytes"},
	{"pending signal of a task", func(m *image.Image) { m.Tasks[1].Pending[1] = make([]byte, 128) }, "task 101: pending signal 0"},
	{"pending signal of a process", func(m *image.Image) { m.Processes[0].Pending[0][1] = 1 }, "process 100: pending signal 266"},

	{"ABI of a task", func(m *image.Image) { m.CPUs[0].State.ABI = regset.PPC }, "cpu 100: a task of ppc on a kernel of x86_64"},
	{"byte order of a task", func(m *image.Image) { m.CPUs[0].State.ABI.BigEndian = true }, "cpu 100: a task of machine 62, big endian true"},
	{"word size of a task", func(m *image.Image) { m.Header.ABI = regset.I386 }, "cpu 100: a task of x86_64 on a kernel of i386"},
	{"features of a task are in the header", func(m *image.Image) { m.CPUs[2].State.Used = 5 }, "cpu 102: the header lacks features 0x4"},
	{"register sets are unique", func(m *image.Image) { m.CPUs[0].State.Sets[1].Note = 1 }, "cpu 100: register set 0x1 is there twice"},
	{"general registers", func(m *image.Image) { m.CPUs[0].State.Drop(regset.PRSTATUS) }, "cpu 100: the general registers are missing"},

	{"state of a process", func(m *image.Image) { m.Processes[0].State = 3 }, "process 100: state 3"},
	{"group in range", func(m *image.Image) { m.Processes[0].PGID = 1 << 30 }, "process 100: parent, group or session out of range"},
	{"session in range", func(m *image.Image) { m.Processes[0].SID = 1 << 30 }, "process 100: parent, group or session out of range"},
	{"parent in range", func(m *image.Image) { m.Processes[0].PPID = 1 << 30 }, "process 100: parent, group or session out of range"},
	{"group is no thread", func(m *image.Image) { m.Processes[1].PGID = 101 }, "process 102: group 101"},
	{"session is no thread", func(m *image.Image) { m.Processes[1].SID = 101 }, "process 102: group 100 or session 101"},
	{"exit signal", func(m *image.Image) { m.Processes[0].ExitSignal = 65 }, "process 100: exit signal 65"},
	{"comm of a process", func(m *image.Image) { m.Processes[0].Comm = "x\x00" }, "process 100: comm"},
	{"dumpable of a process", func(m *image.Image) { m.Processes[0].Dumpable = 3 }, "process 100: dumpable is 3"},
	{"oom_score_adj", func(m *image.Image) { m.Processes[0].OOMScoreAdj = 1001 }, "process 100: oom_score_adj is 1001"},
	{"a zombie has no memory", func(m *image.Image) { m.Processes[2].MM = 1 }, "process 103: a zombie has memory"},
	{"a zombie has no descriptors", func(m *image.Image) { m.Processes[2].Files = 1 }, "process 103: a zombie has memory"},
	{"a leader has a task", func(m *image.Image) {
		m.Tasks[2].TID, m.CPUs[2].TID = 110, 110
	}, "process 102: the task of its leader is missing"},
	{"memory of a process", func(m *image.Image) { m.Processes[1].MM = 9 }, "process 102: mm 9 is missing"},
	{"descriptors of a process", func(m *image.Image) { m.Processes[1].Files = 0 }, "process 102: files 0 is missing"},
	{"file system of a process", func(m *image.Image) { m.Processes[1].FS = 9 }, "process 102: fs 9 is missing"},
	{"signal actions of a process", func(m *image.Image) { m.Processes[1].Sighand = 9 }, "process 102: sighand 9 is missing"},
	{"who shares signal actions shares memory", func(m *image.Image) { m.Processes[1].Sighand = 1 }, "process 102: it shares sighand 1, but not memory"},
	{"number of limits", func(m *image.Image) { m.Processes[0].Limits = m.Processes[0].Limits[:15] }, "process 100: 15 resource limits"},
	{"limit below its maximum", func(m *image.Image) { m.Processes[0].Limits[7].Max = 5 }, "process 100: resource limit 7 is above"},
	{"interval timer", func(m *image.Image) { m.Processes[0].Itimers[2].Value = -1 }, "process 100: interval timer 2 is negative"},
	{"timers are unique", func(m *image.Image) {
		m.Processes[0].Timers = append(m.Processes[0].Timers, m.Processes[0].Timers[0])
	}, "process 100: timer 0: there are two of it"},
	{"timer notification", func(m *image.Image) { m.Processes[0].Timers[0].Notify = 3 }, "process 100: timer 0: notification 3"},
	{"timer signal", func(m *image.Image) { m.Processes[0].Timers[0].Signal = 65 }, "process 100: timer 0: signal 65"},
	{"timer is not negative", func(m *image.Image) { m.Processes[0].Timers[0].Remaining = -1 }, "process 100: timer 0: its time is negative"},
	{"task of a timer", func(m *image.Image) { m.Processes[0].Timers[0].TID = 102 }, "process 100: timer 0: task 102 is none of its process"},

	{"parent exists", func(m *image.Image) { m.Processes[1].PPID = 7 }, "process 102: parent 7 is missing"},
	{"parent of the root is outside", func(m *image.Image) { m.Processes[0].PPID = 102 }, "process 100: parent 102 of the root is in the image"},
	{"own parent", func(m *image.Image) { m.Processes[1].PPID = 102 }, "process 102: it is its own ancestor"},
	{"parent is no zombie", func(m *image.Image) { m.Processes[1].PPID = 103 }, "process 102: parent 103 is a zombie"},
	{"root is no zombie", func(m *image.Image) { m.Header.Root = 103 }, "process 103: the root is a zombie"},
	{"no circle of parents", func(m *image.Image) {
		q := *m.Processes[1]
		q.PID, q.PPID = 200, 102
		m.Processes[1].PPID = 200
		m.Processes = append(m.Processes, &q)
		s, c := *m.Tasks[2], *m.CPUs[2]
		s.TID, s.PID, c.TID = 200, 200, 200
		m.Tasks, m.CPUs, m.Header.Tasks = append(m.Tasks, &s), append(m.CPUs, &c), 4
	}, "process 102: it is its own ancestor"},

	{"prctl_mm_map in order", func(m *image.Image) { m.MMs[0].EndCode = 1 }, "mm 1: code at"},
	{"heap in order", func(m *image.Image) { m.MMs[0].Brk = 0 }, "mm 1: heap at"},
	{"prctl_mm_map in user space", func(m *image.Image) { m.MMs[0].EnvEnd = 1<<56 + 1 }, "mm 1: environment at"},
	{"auxiliary vector", func(m *image.Image) { m.MMs[0].Auxv = m.MMs[0].Auxv[:24] }, "mm 1: auxiliary vector of 24 bytes"},
	{"dumpable of memory", func(m *image.Image) { m.MMs[0].Dumpable = 3 }, "mm 1: dumpable is 3"},
	{"executable", func(m *image.Image) { m.MMs[1].Exe = 99 }, "mm 2: file 99 is missing"},
	{"mapping not empty", func(m *image.Image) { m.MMs[0].VMAs[1].End = imagetest.Heap }, "mm 1: mapping 0x10010000-0x10010000: it ends before it starts"},
	{"start page aligned", func(m *image.Image) { m.MMs[0].VMAs[1].Start++ }, "not page aligned"},
	{"end page aligned", func(m *image.Image) { m.MMs[0].VMAs[1].End -= 2048 }, "not page aligned"},
	{"mappings in order", func(m *image.Image) {
		a := m.MMs[0].VMAs
		a[0], a[1] = a[1], a[0]
	}, "overlaps the one before, or is out of order"},
	{"mappings do not overlap", func(m *image.Image) { m.MMs[0].VMAs[0].End = imagetest.Heap + 4096 }, "mapping 0x10010000-0x10014000: it overlaps"},
	{"mapping in user space", func(m *image.Image) { m.MMs[0].VMAs[5].End = 1<<56 + 4096 }, "beyond the last user address"},
	{"mapping of a 32-bit task in user space", func(m *image.Image) {
		for _, c := range m.CPUs {
			c.State.ABI = regset.I386
		}
		m.MMs[1].VMAs[5].End = 1<<32 + 4096
	}, "mm 2: mapping 0x7ffe0000-0x100001000: beyond the last user address"},
	{"protection", func(m *image.Image) { m.MMs[0].VMAs[1].Prot = 8 }, "protection 0x8"},
	{"flags of a mapping", func(m *image.Image) { m.MMs[0].VMAs[1].Flags = image.VMAUnknown }, "flags 0x"},
	{"protection key", func(m *image.Image) { m.MMs[0].VMAs[1].Pkey = 32 }, "protection key 32"},
	{"name of a mapping", func(m *image.Image) { m.MMs[0].VMAs[1].Name = "\x00" }, "its name holds a NUL"},
	{"kind of a mapping", func(m *image.Image) { m.MMs[0].VMAs[1].Kind = 6 }, "kind 6"},
	{"anonymous memory has no file", func(m *image.Image) { m.MMs[0].VMAs[1].File = 1 }, "it has no file, but refers to 1"},
	{"private memory is not shared", func(m *image.Image) { m.MMs[0].VMAs[1].Flags = image.VMAMayShare }, "private memory is shared"},
	{"file of a mapping", func(m *image.Image) { m.MMs[0].VMAs[0].File = 99 }, "file 99 is missing"},
	{"shm of a mapping", func(m *image.Image) { m.MMs[0].VMAs[2].File = 99 }, "shm 99 is missing"},
	{"shared memory is shared", func(m *image.Image) { m.MMs[0].VMAs[2].Flags = 0 }, "shared memory is private"},
	{"offset page aligned", func(m *image.Image) { m.MMs[0].VMAs[0].Offset = 512 }, "offset 0x200"},
	{"offset too large", func(m *image.Image) { m.MMs[0].VMAs[0].Offset = ^uint64(0) - 4095 }, "offset 0xfffffffffffff000"},
	{"vsyscall page in its place", func(m *image.Image) { m.MMs[0].VMAs[1].Kind = image.Vsyscall }, "a vsyscall page out of place"},

	{"contents of the vdso", func(m *image.Image) { m.MMs[0].VDSO = make([]byte, 8192) }, "mm 1: no vdso of 8192 bytes is mapped"},

	{"working directory", func(m *image.Image) { m.FSs[0].Cwd = "(unreachable)/x" }, "fs 1: working directory"},
	{"root directory", func(m *image.Image) { m.FSs[0].Root = "/\x00" }, "fs 1: working directory"},
	{"umask", func(m *image.Image) { m.FSs[0].Umask = 0o1000 }, "fs 1: umask 01000"},
	{"number of actions", func(m *image.Image) { m.Sighands[0].Actions = nil }, "sighand 1: 0 signal actions"},
	{"descriptor in range", func(m *image.Image) { m.Tables[0].FDs[3].Number = 1 << 20 }, "files 1: descriptor 1048576 is out of range"},
	{"descriptors are unique", func(m *image.Image) { m.Tables[0].FDs[3].Number = 1 }, "files 1: descriptor 1 is there twice"},
	{"file of a descriptor", func(m *image.Image) { m.Tables[0].FDs[3].File = 0 }, "files 1: file 0 of descriptor 7 is missing"},
	{"path without NUL", func(m *image.Image) { m.Files[0].Path = "/\x00" }, "file 1: its path holds a NUL"},
	{"path is absolute", func(m *image.Image) { m.Files[0].Path = "etc/passwd" }, `file 1: "etc/passwd" is no path`},
	{"signal of a file", func(m *image.Image) { m.Files[0].Signal = 65 }, "file 1: signal 65"},
	{"owner of a file", func(m *image.Image) { m.Files[0].OwnerType = 3 }, "file 1: owner 0 of type 3"},
	{"lock of an open file", func(m *image.Image) { m.Files[2].Locks[0].Kind = image.POSIX }, "file 3: a lock of a process"},
	{"kind of a lock", func(m *image.Image) { m.Files[2].Locks[0].Kind = image.POSIX + 1 }, "file 3: kind 4 of lock"},
	{"type of a lock", func(m *image.Image) { m.Files[2].Locks[0].Type = 2 }, "file 3: type 2 of lock"},
	{"range of a lock", func(m *image.Image) {
		m.Files[2].Locks[0].Start, m.Files[2].Locks[0].Len = 1<<62, 1<<62+1
	}, "file 3: a lock on"},
	{"kind of a POSIX lock", func(m *image.Image) { m.Tables[0].Locks[0].Kind = image.OFDLock }, "files 1: a lock of kind 1"},
	{"descriptor of a POSIX lock", func(m *image.Image) { m.Tables[0].Locks[0].FD = 99 }, "files 1: a lock of kind 3 on descriptor 99"},
	{"type of a POSIX lock", func(m *image.Image) { m.Tables[0].Locks[0].Type = 3 }, "files 1: type 3 of lock"},
	{"contents of a deleted file", func(m *image.Image) { m.Files[2].Gone, m.Files[2].Object = true, 1 }, "file 3: shm 1 is missing, or not of a file"},
	{"position in a deleted file", func(m *image.Image) {
		m.Files[2].Gone, m.Files[2].Object, m.Files[2].Pos = true, 3, -1
	}, "file 3: position -1"},
	{"path of a deleted file", func(m *image.Image) { m.Shms[2].Path = "x" }, "shm 3: \"x\" is no path"},
	{"a memfd has no path", func(m *image.Image) { m.Shms[2].MemFD = true }, "shm 3: \"/tmp/gone\" is no path, or that of a memfd"},
	{"an eventfd has no object", func(m *image.Image) { m.Files[5].Object = 1 }, "file 6: it refers to object 1"},
	{"count of an eventfd", func(m *image.Image) { m.Files[5].Event.Count = ^uint64(0) }, "file 6: its count is too large"},
	{"time of a timerfd", func(m *image.Image) { m.Files[6].Timer.Interval = -1 }, "file 7: its time is negative"},
	{"process of a pidfd", func(m *image.Image) { m.Files[8].PID = 5 }, "file 9: process 5 is missing"},
	{"socket of a file", func(m *image.Image) { m.Files[9].Object = 9 }, "file 10: socket 9 is missing"},
	{"interest list of a file", func(m *image.Image) { m.Files[10].Object = 9 }, "file 11: epoll 9 is missing"},
	{"watches of a file", func(m *image.Image) { m.Files[11].Object = 9 }, "file 12: inotify 9 is missing"},
	{"pseudoterminal of a file", func(m *image.Image) { m.Files[13].Object = 9 }, "file 13: pty 9 is missing"},
	{"epoll target", func(m *image.Image) { m.Epolls[0].Targets[0].File = 99 }, "epoll 1: file 99 is missing"},
	{"epoll target's number", func(m *image.Image) { m.Epolls[0].Targets[0].Number = 1 << 20 }, "epoll 1: descriptor 1048576 is out of range"},
	{"order of watches", func(m *image.Image) { m.Inotifies[0].Watches[1].WD = 1 }, "inotify 1: watch 1 is out of range or order"},
	{"path of a watch", func(m *image.Image) { m.Inotifies[0].Watches[1].Path = "" }, "inotify 1: \"\" is no path"},
	{"size of a terminal", func(m *image.Image) { m.Ptys[0].Rows = 1 << 16 }, "pty 1: 65536 rows"},
	{"session of a terminal", func(m *image.Image) { m.Ptys[0].Session = 1 << 30 }, "pty 1: session"},
	{"state of a socket", func(m *image.Image) { m.Sockets[0].State = 3 }, "socket 1: state 3"},
	{"shutdown of a socket", func(m *image.Image) { m.Sockets[0].Shutdown = 4 }, "socket 1: shutdown 4"},
	{"address of a socket", func(m *image.Image) { m.Sockets[0].Name = make([]byte, 129) }, "socket 1: an address of more than 128 bytes"},
	{"directory of a socket", func(m *image.Image) { m.Sockets[0].Dir = "tmp" }, "socket 1: \"tmp\" is no path"},
	{"send queue", func(m *image.Image) { m.Sockets[0].TCP.Unsent = 1 }, "socket 1: 1 bytes of 0 not sent"},
	{"peer of a socket", func(m *image.Image) { m.Sockets[0].Peer = 3 }, "socket 1: peer 3 is missing"},
	{"type of a peer", func(m *image.Image) { m.Sockets[1].Type = 2 }, "socket 1: peer 2 is missing, or of another kind"},
	{"waiting client", func(m *image.Image) { m.Sockets[0].Pending = []uint32{9} }, "socket 1: socket 9, which waits, is missing"},
	{"a socket is one open file", func(m *image.Image) { m.Files[9].Object = 2 }, "socket 2 is another open file too"},
	{"passed descriptor", func(m *image.Image) { m.Sockets[0].Messages[0].Files = []uint32{99} }, "socket 1: file 99 is missing"},
	{"sender", func(m *image.Image) { m.Sockets[0].Messages[0].Sender = 9 }, "socket 1: sender 9 is missing"},
	{"address of a sender", func(m *image.Image) { m.Sockets[0].Messages[0].From = make([]byte, 129) }, "socket 1: an address of more than 128 bytes"},
	{"kind of a file", func(m *image.Image) { m.Files[0].Kind = image.MQueue + 1 }, "file 1: kind 18"},
	{"a regular file has no object", func(m *image.Image) { m.Files[0].Object = 1 }, "file 1: it refers to object 1"},
	{"size is not negative", func(m *image.Image) { m.Files[0].Size = -1 }, "file 1: size -1"},
	{"position is not negative", func(m *image.Image) { m.Files[2].Pos = -1 }, "file 3: size 12, position -1"},
	{"pipe of an end", func(m *image.Image) { m.Files[3].Object = 9 }, "file 4: pipe 9 is missing"},
	{"pipe of a FIFO", func(m *image.Image) {
		m.Files[3] = &image.File{ID: 4, Kind: image.FIFO, Path: "/tmp/fifo", Object: 9}
	}, "file 4: pipe 9 is missing"},
	{"shm of a memfd", func(m *image.Image) { m.Files[4].Object = 9 }, "file 5: shm 9 is missing, or no memfd"},
	{"shm of a memfd is one", func(m *image.Image) { m.Files[4].Object = 1 }, "file 5: shm 1 is missing, or no memfd"},
	{"contents of a pipe", func(m *image.Image) { m.Pipes[0].Capacity = 8 }, "pipe 1: 9 bytes in a pipe that holds 8"},
	{"size of shared memory", func(m *image.Image) { m.Shms[0].Size = 1 << 63 }, "shm 1: 9223372036854775808 bytes large"},
	{"name of shared memory", func(m *image.Image) { m.Shms[1].Name = "\x00" }, "shm 2: its name holds a NUL"},
}

func TestInvalid(t *testing.T) {
	for _, c := range invalid {
		t.Run(c.rule, func(t *testing.T) {
			m := imagetest.Image(regset.X86_64)
			c.change(m)
			err := m.Validate()
			require.ErrorIs(t, err, image.ErrInvalid)
			require.ErrorContains(t, err, c.want)
		})
	}
}

// TestReadValidates checks that Read refuses what Validate does.
func TestReadValidates(t *testing.T) {
	m := imagetest.Image(regset.X86_64)
	m.Processes[1].MM = 9
	_, _, err := image.Read(bytes.NewReader(imagetest.Bytes(m)))
	require.ErrorIs(t, err, image.ErrInvalid)
	require.ErrorContains(t, err, "process 102: mm 9 is missing")
}

func TestRuns(t *testing.T) {
	const heap, stack, page = imagetest.Heap, imagetest.Stack, imagetest.PageSize
	for _, c := range []struct {
		name   string
		pieces []piece
		want   string // "" if they are right
	}{
		{"two of the heap, stack", []piece{{1, false, []image.Run{{heap, page}, {heap + 2*page, page}, {stack, page}}}}, ""},
		{"two records", []piece{{1, false, []image.Run{{heap, page}}}, {1, false, []image.Run{{heap + page, page}}}}, ""},
		{"two owners in turn", []piece{{1, false, []image.Run{{heap, page}}}, {2, false, []image.Run{{heap, page}}}, {1, false, []image.Run{{stack, page}}}}, ""},
		{"an mm and a shm of one id", []piece{{1, false, []image.Run{{heap, page}}}, {1, true, []image.Run{{0, page}}}}, ""},
		{"private file", []piece{{1, false, []image.Run{{imagetest.Text, 2 * page}}}}, ""},
		{"whole shm", []piece{{1, true, []image.Run{{0, 4 * page}}}}, ""},
		{"across two mappings", []piece{{1, false, []image.Run{{0x40000000, 2 * page}}}}, ""},

		{"no runs", []piece{{1, false, nil}}, "mm 1: a record of no runs"},
		{"empty run", []piece{{1, false, []image.Run{{heap, 0}}}}, "too short"},
		{"too long", []piece{{1, false, []image.Run{{heap, 1 << 40}}}}, "too long"},
		{"sum overflows", []piece{{1, false, []image.Run{{heap, ^uint64(0) - page + 1}, {heap, 2 * page}}}}, "too long"},
		{"no mm", []piece{{9, false, []image.Run{{heap, page}}}}, "mm 9 is missing"},
		{"no shm", []piece{{9, true, []image.Run{{0, page}}}}, "shm 9 is missing"},
		{"address not aligned", []piece{{1, false, []image.Run{{heap + 1, page}}}}, "mm 1: run of 4096 bytes at 0x10010001: not page aligned"},
		{"length not aligned", []piece{{1, false, []image.Run{{heap, 100}}}}, "not page aligned"},
		{"wraps around", []piece{{1, false, []image.Run{{^uint64(0) - page + 1, 2 * page}}}}, "beyond the last address"},
		{"twice in a record", []piece{{1, false, []image.Run{{heap, page}, {heap, page}}}}, "twice, or out of order"},
		{"overlap", []piece{{1, false, []image.Run{{heap, 2 * page}, {heap + page, page}}}}, "twice, or out of order"},
		{"twice in two records", []piece{{1, false, []image.Run{{heap, page}}}, {2, false, []image.Run{{heap, page}}}, {1, false, []image.Run{{heap, page}}}}, "twice, or out of order"},
		{"not mapped", []piece{{1, false, []image.Run{{heap - page, page}}}}, "no private memory is mapped there"},
		{"end not mapped", []piece{{1, false, []image.Run{{heap + 3*page, 2 * page}}}}, "no private memory is mapped there"},
		{"above all mappings", []piece{{1, false, []image.Run{{stack + 2*page, page}}}}, "no private memory is mapped there"},
		{"shared memory by address", []piece{{1, false, []image.Run{{imagetest.Shm, page}}}}, "no private memory is mapped there"},
		{"vdso", []piece{{1, false, []image.Run{{imagetest.Vdso, page}}}}, "no private memory is mapped there"},
		{"vvar", []piece{{1, false, []image.Run{{imagetest.Vdso - page, page}}}}, "no private memory is mapped there"},
		{"from the heap out of it", []piece{{1, false, []image.Run{{stack, 3 * page}}}}, "no private memory is mapped there"},
		{"beyond the shm", []piece{{1, true, []image.Run{{3 * page, 2 * page}}}}, "shm 1: run of 8192 bytes at 0x3000: beyond the end"},
		{"more than was told", []piece{{1, false, []image.Run{{0x40000000, 8 * page}}}, {1, false, []image.Run{{0x40008000, 8 * page}}}}, "more than the 49152 bytes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := imagetest.Image(regset.X86_64)
			m.Bytes = 12 * page
			a := &m.MMs[0].VMAs
			*a = append((*a)[:5:5], image.VMA{Start: 0x40000000, End: 0x40001000, Prot: 3},
				image.VMA{Start: 0x40001000, End: 0x40080000, Prot: 1, Kind: image.FileVMA, File: 1}, (*a)[5])
			writePieces(t, m, c.pieces, c.want)
		})
	}
}

// piece is what one runs record and one pages record have.
type piece struct {
	owner uint32
	shm   bool
	runs  []image.Run
}

// writePieces writes an image with some pages and reads it, which fails with an
// error that contains want, if that is not "".
func writePieces(t *testing.T, m *image.Image, pieces []piece, want string) {
	t.Helper()
	var b bytes.Buffer
	w, err := image.NewWriter(&b, m)
	require.NoError(t, err)
	for _, p := range pieces {
		var n uint64
		for _, r := range p.runs {
			n += r.Len
		}
		if n > image.MaxPages {
			n = 0
		}
		require.NoError(t, w.Pages(p.owner, p.shm, p.runs, make([]byte, n)))
	}
	require.NoError(t, w.Close())
	_, pages, err := readAll(&b)
	if want == "" {
		require.NoError(t, err)
		require.Len(t, pages, len(pieces))
		return
	}
	require.ErrorIs(t, err, image.ErrInvalid)
	require.ErrorContains(t, err, want)
}

// TestSharedFileHasNoPages is about a mapping whose pages its file has.
func TestSharedFileHasNoPages(t *testing.T) {
	m := imagetest.Image(regset.X86_64)
	m.MMs[0].VMAs[0].Flags |= image.VMAMayShare
	var b bytes.Buffer
	w, err := image.NewWriter(&b, m)
	require.NoError(t, err)
	require.NoError(t, w.Pages(1, false, []image.Run{{Addr: imagetest.Text, Len: 4096}}, imagetest.Page(0)))
	require.NoError(t, w.Close())
	_, _, err = readAll(&b)
	require.ErrorContains(t, err, "no private memory is mapped there")
}

func TestPagesTooLong(t *testing.T) {
	w, err := image.NewWriter(&bytes.Buffer{}, imagetest.Image(regset.PPC))
	require.NoError(t, err)
	require.ErrorIs(t, w.Pages(1, false, nil, make([]byte, image.MaxPages+1)), image.ErrInvalid)
}

// large is an image of many records of every kind.
func large(n int) *image.Image {
	m := imagetest.Image(regset.X86_64)
	for i := 0; i < n/10; i++ {
		s, c := *m.Tasks[1], *m.CPUs[1]
		s.TID, c.TID = uint32(1000+i), uint32(1000+i)
		m.Tasks, m.CPUs = append(m.Tasks, &s), append(m.CPUs, &c)
	}
	m.Header.Tasks = uint32(len(m.Tasks))
	for i := 0; i < n; i++ {
		at := 0x100000000 + uint64(i)*8192
		m.MMs[0].VMAs = append(m.MMs[0].VMAs, image.VMA{Start: at, End: at + 4096, Kind: image.FileVMA, File: uint32(1000 + i)})
		m.Files = append(m.Files, &image.File{ID: uint32(1000 + i), Path: "/f"})
		m.Tables[0].FDs = append(m.Tables[0].FDs, image.FD{Number: uint32(1000 + i), File: uint32(1000 + i)})
	}
	return m
}

// TestValidateIsLinear fails if a check looks at each record for each record:
// that takes minutes.
func TestValidateIsLinear(t *testing.T) {
	m := large(200000)
	start := time.Now()
	require.NoError(t, m.Validate())
	require.Less(t, time.Since(start), 20*time.Second)
}

func BenchmarkValidate(b *testing.B) {
	m := large(10000)
	b.ReportAllocs()
	for i := 0; i < b.N; i++ {
		if err := m.Validate(); err != nil {
			b.Fatal(err)
		}
	}
}
