package kernel

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// A memory control group that is full does not make a call fail: the kernel ends
// one of its processes (mm/memcontrol.c: mem_cgroup_out_of_memory). So a restart
// looks for room before it fills memory.

// memoryRoom is the room in the control groups that a process is in.
type memoryRoom struct {
	pid    int
	groups []memoryGroup // those with a limit
	left   uint64        // may be taken before the groups are asked again
}

// memoryGroup is a control group, with the names of its files
// (Documentation/admin-guide/cgroup-v2.rst, cgroup-v1/memory.rst).
type memoryGroup struct {
	dir, limit, usage string
	cache             []string // of memory.stat: what the kernel can do without
}

var (
	groupsV1 = memoryGroup{limit: "memory.limit_in_bytes", usage: "memory.usage_in_bytes", cache: []string{"total_inactive_file", "total_active_file"}}
	groupsV2 = memoryGroup{limit: "memory.max", usage: "memory.current", cache: []string{"inactive_file", "active_file"}}
)

// reserve is what must be left for page tables and the like, in bytes.
const reserve = 512 << 10

// roomOf finds the control groups of a process and those above them, as far as
// they are mounted here.
func roomOf(pid int) (memoryRoom, error) {
	room := memoryRoom{pid: pid}
	b, err := readProc(pid, "cgroup")
	if errors.Is(err, fs.ErrNotExist) {
		return room, nil // a kernel without control groups
	}
	if err != nil {
		return room, err
	}
	mounts, err := readFile("/proc/self/mountinfo")
	if err != nil {
		return room, err
	}
	for _, of := range groupsIn(string(b)) {
		kind, controller := groupsV1, "memory"
		if of.controllers == "" {
			kind, controller = groupsV2, ""
		}
		if !hasOption(of.controllers, controller) {
			continue
		}
		if top, dir, ok := groupDir(string(mounts), controller, of.path); ok {
			room.add(kind, top, dir)
		}
	}
	return room, nil
}

// hasOption reports whether a list with commas has an item.
func hasOption(list, item string) bool {
	return strings.Contains(","+list+",", ","+item+",")
}

// groupDir finds where a control group is mounted, and the top of its hierarchy.
// Mounts are as in /proc/PID/mountinfo (proc(5)).
func groupDir(mounts, controller, group string) (top, dir string, ok bool) {
	for _, line := range strings.Split(mounts, "\n") {
		front, back, _ := strings.Cut(line, " - ")
		f, g := strings.Fields(front), strings.Fields(back)
		if len(f) < 5 || len(g) < 3 {
			continue
		}
		if controller == "" && g[0] != "cgroup2" || controller != "" && (g[0] != "cgroup" || !hasOption(g[2], controller)) {
			continue
		}
		root := strings.TrimSuffix(f[3], "/")
		if group == root || strings.HasPrefix(group, root+"/") {
			return f[4], path.Join(f[4], strings.TrimPrefix(group, root)), true
		}
	}
	return "", "", false
}

// add notes the groups with a limit from a directory up to the top.
func (m *memoryRoom) add(kind memoryGroup, top, dir string) {
	for ; ; dir = path.Dir(dir) {
		g := kind
		g.dir = dir
		if limit, err := g.number(g.limit); err == nil && limit < 1<<60 {
			m.groups = append(m.groups, g)
		}
		if dir == top || dir == "/" {
			return
		}
	}
}

// number reads a file with a number in it. That there is no limit is an error.
func (g *memoryGroup) number(name string) (uint64, error) {
	b, err := readFile(path.Join(g.dir, name))
	if err != nil {
		return 0, err
	}
	return strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64)
}

// room is how much memory the group may get, with what it can do without.
func (g *memoryGroup) room() (room, limit uint64, err error) {
	if limit, err = g.number(g.limit); err != nil {
		return 0, 0, err
	}
	usage, err := g.number(g.usage)
	if err != nil {
		return 0, 0, err
	}
	b, err := readFile(path.Join(g.dir, "memory.stat"))
	if err != nil {
		return 0, 0, err
	}
	room = limit
	for _, line := range strings.Split(string(b), "\n") {
		key, v, _ := strings.Cut(line, " ")
		for _, c := range g.cache {
			if n, err := strconv.ParseUint(v, 10, 64); err == nil && key == c {
				room += n
			}
		}
	}
	if usage > room {
		return 0, limit, nil
	}
	return room - usage, limit, nil
}

// take is called before the process gets so many bytes more.
func (m *memoryRoom) take(n uint64) error {
	if len(m.groups) == 0 {
		return nil
	}
	if n <= m.left {
		m.left -= n
		return nil
	}
	swap, err := freeSwap()
	if err != nil {
		return err
	}
	least := ^uint64(0)
	for i := range m.groups {
		g := &m.groups[i]
		room, limit, err := g.room()
		if err != nil {
			continue // it has gone, or has no limit any more
		}
		if room += swap; room < n+reserve {
			return &RefusedError{PID: m.pid, Kind: "control group", Object: g.dir,
				Reason: fmt.Sprintf("of the %d bytes that it may have %d are left, too few for the next %d of the image", limit, room, n),
				Hint:   "raise its " + g.limit + ", or restart in another group", Errno: unix.ENOMEM}
		}
		if room < least {
			least = room
		}
	}
	// Others take of it meanwhile, and pages are larger than what is in them.
	m.left = 0
	if half := least / 2; half > n {
		m.left = half - n
	}
	return nil
}

// freeSwap is how much of the memory of all processes could go to swap.
func freeSwap() (uint64, error) {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return 0, fmt.Errorf("sysinfo: %w", err)
	}
	return uint64(info.Freeswap) * uint64(info.Unit), nil
}
