package kernel

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"cr/image"
)

// firstUserNS is the inode of the first user namespace, to which capabilities
// over the whole machine belong (PROC_USER_INIT_INO, include/linux/proc_ns.h).
const firstUserNS = 0xeffffffd

// readUsers finds out what the user namespace of a process means for a restart:
// whether the ids of an image are those that its own calls take, and whether its
// capabilities hold outside.
func (rs *restarter) readUsers(pid int) error {
	theirs, err := namespaceOf(pid, "user")
	if errors.Is(err, fs.ErrNotExist) {
		return nil // a kernel without user namespaces
	}
	if err != nil {
		return err
	}
	ours, err := namespaceOf(os.Getpid(), "user")
	if err != nil {
		return err
	}
	rs.otherUsers, rs.ownUsers = theirs != ours, rs.ownUsers || theirs.ino != firstUserNS
	if rs.ids.uids != nil || !rs.img.OwnNamespaces().Has(image.NewUser) {
		return nil
	}
	if !rs.otherUsers {
		return &RefusedError{PID: pid, Kind: "credentials", Reason: "the image is of processes that have a user namespace for themselves, and the caller of restart() has none",
			Hint: "restart it with cr restart", Errno: unix.EOPNOTSUPP}
	}
	rs.ids, err = readIDMaps(pid) // of the caller, whose own namespace has to do
	return err
}

// creds are the credentials that a process has now, as an image would have
// them.
func (rs *restarter) creds(p *process) image.Creds {
	c := rs.ids.creds(p.status.creds)
	if !rs.img.OwnNamespaces().Has(image.NewUser) {
		c.Groups = p.status.creds.Groups // the image has them as this program sees them
	}
	return c
}

// mayHaveIDs checks that a process can take on the ids of an image in its user
// namespace (user_namespaces(7)): commit, which sets them, must not fail.
func (rs *restarter) mayHaveIDs(p *process, now, then *image.Creds) error {
	if equalIDs(now, then) {
		return nil
	}
	refuse := func(why string) error {
		return &RefusedError{PID: p.pid, Kind: "credentials", Errno: unix.EPERM, Hint: "restart it as that user, or as root",
			Reason: fmt.Sprintf("the image is of %s, the restart runs as %s, %s", idsOf(then), idsOf(now), why)}
	}
	if rs.otherUsers && (rs.oneUser || rs.ids.uids == nil) {
		return refuse("in a user namespace where it has no choice of users and groups")
	}
	b, err := readProc(p.pid, "setgroups")
	if err == nil && strings.TrimSpace(string(b)) == "deny" {
		return refuse("in a user namespace where groups cannot be set")
	}
	for name, ids := range map[string][]uint32{
		"uid_map": {then.UID, then.EUID, then.SUID, then.FSUID},
		"gid_map": append([]uint32{then.GID, then.EGID, then.SGID, then.FSGID}, then.Groups...),
	} {
		b, err := readProc(p.pid, name)
		if err != nil {
			continue // a kernel without user namespaces
		}
		for _, id := range ids {
			if !mapsID(string(b), id) {
				return refuse(fmt.Sprintf("in a user namespace whose %s lacks %d", name, id))
			}
		}
	}
	return nil
}

// mapsID reports whether a map of a user namespace has an id.
func mapsID(text string, id uint32) bool {
	for _, line := range strings.Split(text, "\n") {
		var inside, outside, count uint64
		if n, _ := fmt.Sscan(line, &inside, &outside, &count); n == 3 && uint64(id) >= inside && uint64(id)-inside < count {
			return true
		}
	}
	return false
}
