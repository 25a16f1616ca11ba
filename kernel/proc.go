package kernel

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sort"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"cr/image"
)

func procPath(pid int, name string) string { return "/proc/" + strconv.Itoa(pid) + "/" + name }

// readProc reads a file of /proc/PID. That the task has gone is ESRCH.
func readProc(pid int, name string) ([]byte, error) {
	b, err := readFile(procPath(pid, name))
	if errors.Is(err, fs.ErrNotExist) {
		if _, e := os.Lstat("/proc/" + strconv.Itoa(pid)); errors.Is(e, fs.ErrNotExist) {
			return nil, fmt.Errorf("pid %d: %w", pid, unix.ESRCH)
		}
	}
	return b, err
}

// readFile is os.ReadFile for /proc, whose files have no size, with a third of
// the system calls.
func readFile(path string) ([]byte, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	b := make([]byte, 0, 4<<10)
	for {
		if len(b) == cap(b) {
			b = append(b, 0)[:len(b)]
		}
		n, err := unix.Read(fd, b[len(b):cap(b)])
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return nil, &fs.PathError{Op: "read", Path: path, Err: err}
		case n == 0:
			return b, nil
		default:
			b = b[:len(b)+n]
		}
	}
}

// status is what /proc/PID/status says (Documentation/filesystems/proc.rst).
type status struct {
	name       string
	state      byte
	tgid, ppid int
	tracer     int
	nspid      []int // the task's pid in each pid namespace, innermost last
	nstgid     []int
	nspgid     []int
	nssid      []int
	umask      uint32
	sigIgn     uint64
	sigCgt     uint64
	seccomp    int
	filters    int
	locked     int    // VmLck, in KiB
	queued     uint64 // SigQ: signals that are queued for its user, and timers
	kthread    bool
	creds      image.Creds
}

func readStatus(pid int) (*status, error) {
	b, err := readProc(pid, "status")
	if err != nil {
		return nil, err
	}
	s := new(status)
	ids := func(v string) (list []int) {
		for _, f := range strings.Fields(v) {
			n, _ := strconv.ParseUint(f, 10, 32)
			list = append(list, int(n))
		}
		return list
	}
	hex := func(v string) uint64 {
		n, _ := strconv.ParseUint(v, 16, 64)
		return n
	}
	num := func(v string) int {
		n, _ := strconv.Atoi(v)
		return n
	}
	four := func(v string, a, b, c, d *uint32) {
		if l := ids(v); len(l) == 4 {
			*a, *b, *c, *d = uint32(l[0]), uint32(l[1]), uint32(l[2]), uint32(l[3])
		}
	}
	for _, line := range strings.Split(string(b), "\n") {
		key, v, ok := strings.Cut(line, ":")
		if !ok {
			continue
		}
		v = strings.TrimSpace(v)
		switch key {
		case "Name":
			s.name = v
		case "State":
			s.state = v[0]
		case "Tgid":
			s.tgid = num(v)
		case "PPid":
			s.ppid = num(v)
		case "TracerPid":
			s.tracer = num(v)
		case "NSpid":
			s.nspid = ids(v)
		case "NStgid":
			s.nstgid = ids(v)
		case "NSpgid":
			s.nspgid = ids(v)
		case "NSsid":
			s.nssid = ids(v)
		case "Umask":
			n, _ := strconv.ParseUint(v, 8, 32)
			s.umask = uint32(n)
		case "SigIgn":
			s.sigIgn = hex(v)
		case "SigCgt":
			s.sigCgt = hex(v)
		case "VmLck":
			s.locked = num(strings.TrimSuffix(v, " kB"))
		case "SigQ":
			count, _, _ := strings.Cut(v, "/")
			s.queued, _ = strconv.ParseUint(strings.TrimSpace(count), 10, 64)
		case "Seccomp":
			s.seccomp = num(v)
		case "Seccomp_filters":
			s.filters = num(v)
		case "Kthread":
			s.kthread = v == "1"
		case "NoNewPrivs":
			s.creds.NoNewPrivs = v == "1"
		case "Uid":
			four(v, &s.creds.UID, &s.creds.EUID, &s.creds.SUID, &s.creds.FSUID)
		case "Gid":
			four(v, &s.creds.GID, &s.creds.EGID, &s.creds.SGID, &s.creds.FSGID)
		case "Groups":
			for _, g := range ids(v) {
				s.creds.Groups = append(s.creds.Groups, uint32(g))
			}
		case "CapInh":
			s.creds.Inheritable = hex(v)
		case "CapPrm":
			s.creds.Permitted = hex(v)
		case "CapEff":
			s.creds.Effective = hex(v)
		case "CapBnd":
			s.creds.Bounding = hex(v)
		case "CapAmb":
			s.creds.Ambient = hex(v)
		}
	}
	if len(s.nspid) == 0 {
		return nil, fmt.Errorf("%s has no NSpid", procPath(pid, "status"))
	}
	return s, nil
}

// last is the last of a list of ids: that of the innermost namespace.
func last(ids []int) uint32 { return uint32(ids[len(ids)-1]) }

// stat is what this package needs of /proc/PID/stat (proc(5)). Fields are
// numbered as there, from 1.
type stat struct{ fields []string }

func readStat(pid int) (stat, error) {
	b, err := readProc(pid, "stat")
	if err != nil {
		return stat{}, err
	}
	end := bytes.LastIndexByte(b, ')') // comm may hold anything
	if end < 0 {
		return stat{}, fmt.Errorf("%s is malformed", procPath(pid, "stat"))
	}
	s := stat{append([]string{"", ""}, strings.Fields(string(b[end+1:]))...)}
	if len(s.fields) < 52 {
		return stat{}, fmt.Errorf("%s has %d fields", procPath(pid, "stat"), len(s.fields))
	}
	return s, nil
}

func (s stat) num(field int) uint64 {
	f := s.fields[field-1]
	n, err := strconv.ParseUint(f, 10, 64)
	if err != nil {
		signed, _ := strconv.ParseInt(f, 10, 64)
		n = uint64(signed)
	}
	return n
}

// kernelThread reports whether the task has no user side (PF_KTHREAD).
func (s stat) kernelThread() bool { return s.num(9)&0x200000 != 0 }

// readNames is the Readdirnames of package os for /proc, without the system calls
// by which that finds out whether a directory can be polled.
func readNames(dir string) ([]string, error) {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: dir, Err: err}
	}
	defer unix.Close(fd)
	var names []string
	buf := make([]byte, 4<<10)
	for {
		n, err := unix.ReadDirent(fd, buf)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return nil, &fs.PathError{Op: "readdirent", Path: dir, Err: err}
		}
		if n == 0 {
			return names, nil
		}
		_, _, names = unix.ParseDirent(buf[:n], -1, names)
	}
}

// threads lists the tids of a process, ascending.
func threads(pid int) ([]int, error) { return numericDir(pid, "task") }

// descriptors lists the open descriptors of a process, ascending.
func descriptors(pid int) ([]int, error) { return numericDir(pid, "fd") }

func numericDir(pid int, name string) ([]int, error) {
	names, err := readNames(procPath(pid, name))
	if errors.Is(err, fs.ErrNotExist) { // ever, or since it was opened
		return nil, fmt.Errorf("pid %d: %w", pid, unix.ESRCH)
	}
	if err != nil {
		return nil, err
	}
	list := make([]int, 0, len(names))
	for _, n := range names {
		if id, err := strconv.Atoi(n); err == nil {
			list = append(list, id)
		}
	}
	sort.Ints(list)
	return list, nil
}

// children lists the children of a process, those of all its threads.
func children(pid int) ([]int, error) {
	tids, err := threads(pid)
	if err != nil {
		return nil, err
	}
	var list []int
	for _, tid := range tids {
		b, err := readFile(procPath(pid, "task/"+strconv.Itoa(tid)+"/children"))
		if errors.Is(err, fs.ErrNotExist) {
			continue // the thread has gone
		}
		if err != nil {
			return nil, err
		}
		for _, f := range strings.Fields(string(b)) {
			id, err := strconv.Atoi(f)
			if err != nil {
				return nil, err
			}
			list = append(list, id)
		}
	}
	return list, nil
}

// area is a mapping as /proc/PID/smaps shows it.
type area struct {
	start, end uint64
	prot       uint32
	shared     bool
	offset     uint64
	major      uint32
	minor      uint32
	inode      uint64
	name       string
	flags      string // VmFlags, with a space before and behind each
	pkey       uint32
	pageSize   uint64 // bytes, where VmFlags are read
}

// has reports whether a two letter flag is among VmFlags.
func (a *area) has(flag string) bool { return strings.Contains(a.flags, " "+flag+" ") }

// readAreas reads the mappings of a process, with VmFlags where full is set.
func readAreas(pid int, full bool) ([]area, error) {
	name := "maps"
	if full {
		name = "smaps"
	}
	b, err := readProc(pid, name)
	if err != nil {
		return nil, err
	}
	var list []area
	scan := bufio.NewScanner(bytes.NewReader(b))
	scan.Buffer(nil, 1<<20)
	for scan.Scan() {
		line := scan.Text()
		switch {
		case strings.HasPrefix(line, "VmFlags:") && len(list) > 0:
			list[len(list)-1].flags = " " + strings.TrimSpace(line[8:]) + " "
		case strings.HasPrefix(line, "ProtectionKey:") && len(list) > 0:
			k, _ := strconv.ParseUint(strings.TrimSpace(line[14:]), 10, 32)
			list[len(list)-1].pkey = uint32(k)
		case strings.HasPrefix(line, "KernelPageSize:") && len(list) > 0:
			k, _ := strconv.ParseUint(strings.TrimSuffix(strings.TrimSpace(line[15:]), " kB"), 10, 40)
			list[len(list)-1].pageSize = k << 10
		case line != "" && line[0] >= 'A' && line[0] <= 'Z':
			// another line of smaps
		default:
			a, err := parseArea(line)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", procPath(pid, name), err)
			}
			list = append(list, a)
		}
	}
	return list, scan.Err()
}

// parseArea parses a line of /proc/PID/maps.
func parseArea(line string) (area, error) {
	var a area
	bad := func() (area, error) { return area{}, fmt.Errorf("malformed line %q", line) }
	rest := line
	var f [5]string
	for i := range f {
		rest = strings.TrimLeft(rest, " ")
		f[i], rest, _ = strings.Cut(rest, " ")
	}
	from, to, ok := strings.Cut(f[0], "-")
	if !ok || len(f[1]) != 4 {
		return bad()
	}
	var err [6]error
	a.start, err[0] = strconv.ParseUint(from, 16, 64)
	a.end, err[1] = strconv.ParseUint(to, 16, 64)
	a.offset, err[2] = strconv.ParseUint(f[2], 16, 64)
	maj, min, _ := strings.Cut(f[3], ":")
	major, e3 := strconv.ParseUint(maj, 16, 32)
	minor, e4 := strconv.ParseUint(min, 16, 32)
	err[3], err[4] = e3, e4
	a.inode, err[5] = strconv.ParseUint(f[4], 10, 64)
	for _, e := range err {
		if e != nil {
			return bad()
		}
	}
	a.major, a.minor = uint32(major), uint32(minor)
	for i, bit := range []uint32{unix.PROT_READ, unix.PROT_WRITE, unix.PROT_EXEC} {
		if f[1][i] != '-' {
			a.prot |= bit
		}
	}
	a.shared = f[1][3] == 's'
	a.name = unescape(strings.TrimLeft(rest, " "))
	return a, nil
}

// unescape undoes the octal escape of newlines that maps has.
func unescape(s string) string { return strings.ReplaceAll(s, `\012`, "\n") }
