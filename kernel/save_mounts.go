package kernel

import (
	"fmt"
	"os"
	"strings"

	"cr/image"
)

// A restart gets a copy of the mounts of the restarter, as any new mount
// namespace does. So one can be saved that is a copy of this program's, if what has
// been mounted in it since can be made again: file systems that hold nothing but
// what the kernel makes.

// mountLine is a line of /proc/PID/mountinfo (proc(5)).
type mountLine struct {
	image.Mount
	dev, root   string
	propagation string // shared:1 and so on; empty if it is private
}

// key is the same for a mount and its copy.
func (m *mountLine) key() string { return fmt.Sprintf("%q %q %q", m.Mount, m.dev, m.root) }

// readMounts reads the mounts of a process.
func readMounts(pid int) ([]mountLine, error) {
	b, err := readProc(pid, "mountinfo")
	if err != nil {
		return nil, err
	}
	var list []mountLine
	for _, line := range strings.Split(string(b), "\n") {
		mount, super, ok := strings.Cut(line, " - ")
		f, g := strings.Fields(mount), strings.Fields(super)
		if !ok || len(f) < 6 || len(g) < 3 {
			continue // the end
		}
		list = append(list, mountLine{
			image.Mount{Type: g[0], Source: unescapeMount(g[1]), Target: unescapeMount(f[4]), Options: f[5], Super: g[2]},
			f[2], unescapeMount(f[3]), strings.Join(f[6:], " "),
		})
	}
	return list, nil
}

// mountNamespace saves what a process has mounted in its namespace, and refuses what
// cannot be made again.
func (s *saver) mountNamespace(p *process, own *image.Namespaces) error {
	ours, err := readMounts(os.Getpid())
	if err != nil {
		return err
	}
	theirs, err := readMounts(p.pid)
	if err != nil {
		return err
	}
	refuse := func(m *mountLine, reason string) {
		s.refuse(p, "mount", m.Target, reason, fmt.Sprintf("checkpoint it from inside (nsenter --target %d --all cr checkpoint), and restart it there", p.pid))
	}
	copies, there := make(map[string]int), make(map[string]int) // in whatever order
	for i := range theirs {
		there[theirs[i].key()]++
	}
	for i := range ours {
		key := ours[i].key()
		if copies[key]++; copies[key] > there[key] {
			refuse(&ours[i], "it is not mounted so in the mount namespace of the tree, and a restart would have it")
			return nil
		}
	}
	for i := range theirs {
		m := &theirs[i]
		if m.propagation != "" {
			s.refuse(p, "mount", m.Target, "it propagates mounts ("+m.propagation+"), and those of a restart are private", "make it private (mount --make-private)")
			continue
		}
		if key := m.key(); copies[key] > 0 {
			copies[key]--
			continue
		}
		m.leaveOwner(p)
		bad := m.Bad()
		if m.root != "/" {
			bad = "a bind mount of " + m.root
		}
		if bad == "" && m.Type == "tmpfs" {
			list := []os.DirEntry(nil)
			_, err := s.options.as.do(func() (n int, err error) {
				list, err = os.ReadDir(procPath(p.pid, "root") + m.Target)
				return 0, err
			})
			if err != nil {
				return err
			}
			if len(list) > 0 {
				bad = fmt.Sprintf("a tmpfs with %s in it, and an image does not hold its files", list[0].Name())
			}
		}
		if bad != "" {
			refuse(m, bad)
			continue
		}
		own.Mounts = append(own.Mounts, m.Mount)
	}
	return nil
}

// leaveOwner takes the owner of a tmpfs from its options if that is who a process
// is: who mounts one anew becomes its owner.
func (m *mountLine) leaveOwner(p *process) {
	creds := &p.status.creds
	own := map[string]bool{fmt.Sprint("uid=", creds.EUID): true, fmt.Sprint("gid=", creds.EGID): true}
	var left []string
	for _, option := range strings.Split(m.Super, ",") {
		if !own[option] {
			left = append(left, option)
		}
	}
	m.Super = strings.Join(left, ",")
}
