package kernel

import (
	"fmt"

	"golang.org/x/sys/unix"

	"cr/image"
)

// Bits of capability sets (include/uapi/linux/capability.h).
const (
	capSetgid      = 6
	capSetuid      = 7
	capSetpcap     = 8
	capSysChroot   = 18
	capSysAdmin    = 21
	capSysNice     = 23
	capSysResource = 24
)

// mayHaveCreds checks that a process with some credentials and securebits can
// become one with others by its own authority: commit, which sets them, must not
// fail (capset(2), PR_SET_SECUREBITS, PR_CAP_AMBIENT).
func mayHaveCreds(pid int, now, then *image.Creds, securebits uint32) error {
	refuse := func(what, hint string) error {
		return &RefusedError{PID: pid, Kind: "credentials", Reason: what, Hint: hint, Errno: unix.EPERM}
	}
	if !equalIDs(now, then) {
		for _, c := range []uint{capSetuid, capSetgid} {
			if now.Effective>>c&1 == 0 {
				return refuse(fmt.Sprintf("the image is of %s, the restart runs as %s", idsOf(then), idsOf(now)),
					"restart it as that user, or as root")
			}
		}
	}
	setpcap := now.Effective>>capSetpcap&1 != 0
	if lost := now.Bounding &^ then.Bounding; lost != 0 && !setpcap {
		return refuse(fmt.Sprintf("the image lacks capabilities %#x in its bounding set, and to drop them takes CAP_SETPCAP", lost),
			"restart it as root, or in a namespace of its own (--pids=keep)")
	}
	if changed := (then.Securebits ^ securebits) &^ secKeepCaps; changed != 0 && !setpcap {
		return refuse(fmt.Sprintf("the image has securebits %#x, here they are %#x, and to change them takes CAP_SETPCAP", then.Securebits, securebits),
			"restart it as root")
	}
	if locked := securebits & secLocks; (then.Securebits^securebits)&(locked|locked>>1) != 0 {
		return refuse(fmt.Sprintf("the image has securebits %#x, here they are %#x, and locked", then.Securebits, securebits),
			"restart it from a process whose securebits are not locked")
	}
	if gained := then.Permitted &^ now.Permitted; gained != 0 {
		return refuse(fmt.Sprintf("the image has capabilities %#x, which the restart has not", gained), "restart it as root")
	}
	inheritable := now.Inheritable | now.Permitted
	if setpcap {
		inheritable = now.Inheritable | now.Bounding
	}
	if gained := then.Inheritable &^ inheritable; gained != 0 {
		return refuse(fmt.Sprintf("the image has inheritable capabilities %#x, which the restart has not", gained), "restart it as root")
	}
	if wrong := then.Effective&^then.Permitted | then.Ambient&^(then.Permitted&then.Inheritable); wrong != 0 {
		return refuse(fmt.Sprintf("the image has capabilities %#x effective or ambient, but not permitted", wrong), "")
	}
	return nil
}

// idsOf names the ids of a process for people, as short as they allow.
func idsOf(c *image.Creds) string {
	ids := func(name string, r, e, s, f uint32) string {
		if r == e && e == s && s == f {
			return fmt.Sprintf("%s %d", name, r)
		}
		return fmt.Sprintf("%ss %d, %d, %d, %d", name, r, e, s, f)
	}
	text := ids("uid", c.UID, c.EUID, c.SUID, c.FSUID) + ", " + ids("gid", c.GID, c.EGID, c.SGID, c.FSGID)
	if len(c.Groups) > 0 {
		text += fmt.Sprintf(", groups %d", c.Groups)
	}
	return text
}

func equalIDs(a, b *image.Creds) bool {
	if a.UID != b.UID || a.EUID != b.EUID || a.SUID != b.SUID || a.FSUID != b.FSUID ||
		a.GID != b.GID || a.EGID != b.EGID || a.SGID != b.SGID || a.FSGID != b.FSGID {
		return false
	}
	return equalGroups(a.Groups, b.Groups)
}

func equalGroups(a, b []uint32) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// commitCreds gives a task its credentials, by its own calls.
func (rs *restarter) commitCreds(r *reborn, t *task, rec *image.Task) error {
	now, then := rs.creds(r.process), rec.Creds
	if then.NoNewPrivs {
		if _, err := t.call(sysPrctl, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			return err
		}
	}
	if !equalIDs(&now, &then) {
		if err := r.setIDs(t, &then); err != nil {
			return err
		}
	}
	if equalCaps(&now, &then) && equalIDs(&now, &then) && then.Securebits == rs.securebits {
		return nil
	}
	return rs.setSets(r, t, &now, &then)
}

func equalCaps(a, b *image.Creds) bool {
	return a.Permitted == b.Permitted && a.Effective == b.Effective && a.Inheritable == b.Inheritable &&
		a.Bounding == b.Bounding && a.Ambient == b.Ambient
}

// Securebits (include/uapi/linux/securebits.h): SECBIT_KEEP_CAPS is for
// everybody to set. Behind each bit is one that locks it.
const (
	secKeepCaps = 1 << 4
	secLocks    = 0xaa
)

// Numbers of prctl(2) about capabilities.
const (
	prCapbsetDrop  = 24
	prSetSecurebit = 28
	prCapAmbient   = 47
	ambientRaise   = 2
	ambientClear   = 4
)

// setSets gives a task its capability sets and securebits. While it does, the
// task has all capabilities that it may have, so that the order matters: ambient
// ones must be inheritable, and the bounding set bounds what becomes so.
func (rs *restarter) setSets(r *reborn, t *task, now, then *image.Creds) error {
	prctl := func(option, a, b uint64) error {
		_, err := t.call(sysPrctl, option, a, b, 0, 0)
		return err
	}
	dropped := now.Bounding &^ then.Bounding
	if dropped != 0 || then.Ambient != now.Ambient || then.Securebits != rs.securebits {
		all := *now
		all.Effective, all.Inheritable = now.Permitted, then.Inheritable
		if err := r.setCaps(t, &all); err != nil {
			return err
		}
	}
	if now.Ambient != 0 {
		if err := prctl(prCapAmbient, ambientClear, 0); err != nil {
			return err
		}
	}
	for c := uint64(0); c < 64; c++ {
		if then.Ambient>>c&1 != 0 {
			if err := prctl(prCapAmbient, ambientRaise, c); err != nil {
				return fmt.Errorf("ambient capability %d: %w", c, err)
			}
		}
	}
	for c := uint64(0); c < 64; c++ {
		if dropped>>c&1 != 0 {
			if err := prctl(prCapbsetDrop, c, 0); err != nil {
				return fmt.Errorf("bounding capability %d: %w", c, err)
			}
		}
	}
	switch {
	case then.Securebits == rs.securebits:
	case (then.Securebits^rs.securebits)&^secKeepCaps == 0:
		if err := prctl(prSetKeepcaps, uint64(then.Securebits&secKeepCaps)/secKeepCaps, 0); err != nil {
			return err
		}
	default:
		if err := prctl(prSetSecurebit, uint64(then.Securebits), 0); err != nil {
			return fmt.Errorf("securebits %#x: %w", then.Securebits, err)
		}
	}
	return r.setCaps(t, then)
}

// prSetKeepcaps keeps permitted capabilities when the uids change.
const prSetKeepcaps = 8

func (r *reborn) setIDs(t *task, c *image.Creds) error {
	if _, err := t.call(sysPrctl, prSetKeepcaps, 1, 0, 0, 0); err != nil {
		return err
	}
	order := t.abi.Order()
	groups := make([]byte, 4*len(c.Groups))
	for i, g := range c.Groups {
		order.PutUint32(groups[4*i:], g)
	}
	if err := r.mem.write(r.scratch, append(groups, 0)); err != nil {
		return err
	}
	for _, call := range []struct {
		nr   sysno
		args []uint64
	}{
		{sysSetgroups, []uint64{uint64(len(c.Groups)), r.scratch}},
		{sysSetresgid, []uint64{uint64(c.GID), uint64(c.EGID), uint64(c.SGID)}},
		{sysSetfsgid, []uint64{uint64(c.FSGID)}},
		{sysSetresuid, []uint64{uint64(c.UID), uint64(c.EUID), uint64(c.SUID)}},
		{sysSetfsuid, []uint64{uint64(c.FSUID)}},
	} {
		if _, err := t.call(call.nr, call.args...); err != nil {
			return err
		}
	}
	_, err := t.call(sysPrctl, prSetKeepcaps, 0, 0, 0, 0)
	return err
}

// setCaps sets the capability sets (capset(2), version 3).
func (r *reborn) setCaps(t *task, c *image.Creds) error {
	order := t.abi.Order()
	const header, version3 = 8, 0x20080522
	b := make([]byte, header+24)
	order.PutUint32(b, version3)
	for i, set := range []uint64{c.Effective, c.Permitted, c.Inheritable} {
		order.PutUint32(b[header+4*i:], uint32(set))
		order.PutUint32(b[header+12+4*i:], uint32(set>>32))
	}
	if err := r.mem.write(r.scratch, b); err != nil {
		return err
	}
	_, err := t.call(sysCapset, r.scratch, r.scratch+header)
	return err
}
