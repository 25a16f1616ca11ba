package kernel

import (
	"fmt"
	"strings"
	"syscall"

	"cr/image"
)

// idMap translates ids between a user namespace and that of this program
// (user_namespaces(7)). nil leaves them as they are.
type idMap []image.IDRange

// inside is an id of this program's namespace in the other one.
func (m idMap) inside(outside uint32) uint32 {
	if m == nil {
		return outside
	}
	for _, r := range m {
		if outside >= r.Outside && outside-r.Outside < r.Count {
			return r.Inside + outside - r.Outside
		}
	}
	return overflowID
}

// outside is an id of the other namespace in this program's; it is false if the
// other has no such id.
func (m idMap) outside(inside uint32) (uint32, bool) {
	for _, r := range m {
		if inside >= r.Inside && inside-r.Inside < r.Count {
			return r.Outside + inside - r.Inside, true
		}
	}
	return 0, false
}

// idMaps are those of users and of groups.
type idMaps struct{ uids, gids idMap }

// readIDMaps reads those of the user namespace that a process is in.
func readIDMaps(pid int) (idMaps, error) {
	var m idMaps
	for name, to := range map[string]*idMap{"uid_map": &m.uids, "gid_map": &m.gids} {
		b, err := readProc(pid, name)
		if err != nil {
			return idMaps{}, err
		}
		*to = idMap{}
		for _, line := range strings.Split(strings.TrimSpace(string(b)), "\n") {
			var r image.IDRange
			if n, _ := fmt.Sscan(line, &r.Inside, &r.Outside, &r.Count); n == 3 {
				*to = append(*to, r)
			}
		}
	}
	return m, nil
}

// creds gives credentials as a task in the other namespace has them.
func (m *idMaps) creds(c image.Creds) image.Creds {
	for _, id := range []*uint32{&c.UID, &c.EUID, &c.SUID, &c.FSUID} {
		*id = m.uids.inside(*id)
	}
	for _, id := range []*uint32{&c.GID, &c.EGID, &c.SGID, &c.FSGID} {
		*id = m.gids.inside(*id)
	}
	groups := c.Groups
	c.Groups = nil
	for _, g := range groups {
		c.Groups = append(c.Groups, m.gids.inside(g))
	}
	return c
}

// mappings are what clone shall map.
func (m idMap) mappings() []syscall.SysProcIDMap {
	var list []syscall.SysProcIDMap
	for _, r := range m {
		list = append(list, syscall.SysProcIDMap{ContainerID: int(r.Inside), HostID: int(r.Outside), Size: int(r.Count)})
	}
	return list
}

// userNamespace saves the maps of the user namespace of the tree.
func (s *saver) userNamespace(p *process, own *image.Namespaces) error {
	var err error
	if s.ids, err = readIDMaps(p.pid); err != nil {
		return err
	}
	own.UIDs, own.GIDs = s.ids.uids, s.ids.gids
	b, err := readProc(p.pid, "setgroups")
	if err != nil {
		return err
	}
	own.Setgroups = strings.TrimSpace(string(b)) != "deny"
	return nil
}
