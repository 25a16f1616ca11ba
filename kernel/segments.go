package kernel

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"cr/image"
)

// A segment of System V shared memory belongs to its IPC namespace and stays
// when the processes that have attached it are gone. An image holds those that
// its processes have attached, contents included: programs know them by number.

// segmentPrefix begins the name that maps gives to a segment; behind it is the
// key.
const segmentPrefix = "/SYSV"

// isSegment reports whether a mapping is of a segment. Its inode is the number.
func isSegment(a *area) bool { return a.shared && strings.HasPrefix(a.name, segmentPrefix) }

// Bits of the mode of a segment (include/linux/shm.h).
const (
	shmDest   = 0o1000
	shmLocked = 0o2000
)

// segment is a line of /proc/sysvipc/shm.
type segment struct {
	key            int32
	mode, uid, gid uint32
	size           uint64
	attached       int // mappings
}

// readSegments reads the segments of this program's IPC namespace, by number.
func readSegments() (map[int32]segment, error) { return segmentsBy(os.ReadFile) }

// segmentsBy does the same for the IPC namespace of whoever opens files by read.
func segmentsBy(read func(path string) ([]byte, error)) (map[int32]segment, error) {
	all, err := sysvObjects("shm", read)
	list := make(map[int32]segment, len(all))
	for n, o := range all {
		list[n] = segment{key: int32(o["key"]), mode: uint32(o["perms"]), size: uint64(o["size"]), attached: int(o["nattch"]),
			uid: uint32(o["uid"]), gid: uint32(o["gid"])}
	}
	return list, err
}

// mapSegment gives a mapping of a segment its record.
func (s *saver) mapSegment(p *process, a *area, v *image.VMA) error {
	s.mapShared(p, a, v)
	rec := s.img.Shm(v.File)
	if rec.Segment.Is {
		return nil
	}
	all, err := s.allSegments()
	if err != nil {
		return err
	}
	seg, ok := all[int32(a.inode)]
	if !ok {
		return fmt.Errorf("pid %d: segment %d of shared memory is not in /proc/sysvipc/shm", p.pid, a.inode)
	}
	rec.Size, rec.Mode, rec.Path = seg.size, seg.mode&^(shmDest|shmLocked), ""
	rec.Segment = image.Segment{Is: true, Key: seg.key, Number: int32(a.inode), UID: seg.uid, GID: seg.gid, Removed: seg.mode&shmDest != 0}
	if !s.ownIPC() {
		rec.Segment.UID, rec.Segment.GID = s.ids.uids.inside(seg.uid), s.ids.gids.inside(seg.gid)
	}
	if seg.mode&shmLocked != 0 {
		s.refuse(p, "mapping", mappingName(a), "a System V shared memory segment that is locked (SHM_LOCK)", "unlock it first")
	}
	return nil
}

func mappingName(a *area) string { return fmt.Sprintf("%x-%x %s", a.start, a.end, a.name) }

// checkSegments refuses segments that other processes have attached too, and
// those that cannot be read whole.
func (s *saver) checkSegments() error {
	attached := make(map[int32]bool)
	for _, m := range s.shmList {
		if !m.rec.Segment.Is {
			continue
		}
		attached[m.rec.Segment.Number] = true
		all, err := s.allSegments()
		if err != nil {
			return err
		}
		at := m.maps[0]
		object := fmt.Sprintf("%x-%x %s%08x", at.start, at.end, segmentPrefix, uint32(m.rec.Segment.Key))
		if n := all[m.rec.Segment.Number].attached; n > len(m.maps) {
			s.refuse(at.process, "mapping", object,
				fmt.Sprintf("System V shared memory that processes outside have attached %d times", n-len(m.maps)),
				"detach it there first, or checkpoint these processes together")
			continue
		}
		var mapped spans
		for _, v := range m.maps {
			mapped = mapped.add(span{v.offset, v.offset + v.end - v.start})
		}
		if m.file == "" && (len(mapped) != 1 || mapped[0].start != 0 || mapped[0].end < m.rec.Size) {
			s.refuse(at.process, "mapping", object, "System V shared memory of which only a part is mapped, which takes CAP_CHECKPOINT_RESTORE to save",
				"checkpoint as root")
		}
	}
	for number := range s.segments {
		if !attached[number] {
			s.refuse(s.tree.processes[0], "System V shared memory", strconv.Itoa(int(number)),
				"it is in the IPC namespace of the tree, and no process of that has it attached", "attach it, or remove it (ipcrm -m)")
		}
	}
	return nil
}

// allSegments are the segments of the tree's IPC namespace, by number.
func (s *saver) allSegments() (map[int32]segment, error) {
	if s.ownIPC() {
		return s.segments, nil
	}
	return readSegments()
}

// stageSegment maps a whole segment in the root process: the one that is there,
// if nobody has it attached, or a new one with its number.
func (rs *restarter) stageSegment(shm *image.Shm, at uint64) error {
	seg := &shm.Segment
	refuse := func(reason, hint string, errno unix.Errno) error {
		return &RefusedError{PID: rs.root.pid, Kind: "System V shared memory", Object: strconv.Itoa(int(seg.Number)),
			Reason: reason, Hint: hint, Errno: errno}
	}
	var all map[int32]segment // none in a new namespace
	if !rs.newIPC() {
		if !rs.inOurIPC() {
			return refuse("the process is in another IPC namespace than this program", "restart it from inside", unix.EOPNOTSUPP)
		}
		var err error
		if all, err = readSegments(); err != nil {
			return err
		}
	}
	number := seg.Number
	now, there := all[number]
	switch {
	case there && (now.key != seg.Key || now.size != shm.Size || now.mode&shmDest != 0):
		if !seg.Removed {
			return refuse("there is another segment of that number", "remove it (ipcrm -m)", unix.EEXIST)
		}
		there = false
	case there && now.attached > 0 && !rs.options.Force:
		return refuse("it is in use", "end those who use it, or share it with them (--force)", unix.EBUSY)
	}
	if !there {
		var err error
		if number, err = rs.makeSegment(shm); err != nil {
			return err
		}
		if number != seg.Number && !seg.Removed {
			return refuse(newNumber(number), "restart it as root", unix.EPERM)
		}
	}
	if _, err := rs.root.do(sysShmat, number, at, 0); err != nil {
		return fmt.Errorf("segment %d of System V shared memory: %w", number, err)
	}
	if seg.Removed {
		rs.doomed = append(rs.doomed, number)
	}
	return nil
}

// makeSegment makes a segment, with the number that it had if the process may
// choose.
func (rs *restarter) makeSegment(shm *image.Shm) (int32, error) {
	seg := &shm.Segment
	key := seg.Key
	if seg.Removed {
		key = 0 // its name is gone
	}
	number, err := rs.numbered("shm", seg.Number, sysShmget, key, shm.Size, shm.Mode&0o777|ipcCreate|ipcExclusive)
	if err != nil {
		return 0, fmt.Errorf("segment %d of System V shared memory: %w", seg.Number, err)
	}
	rs.segments = append(rs.segments, number)
	creds := rs.creds(rs.root.process)
	if seg.UID == creds.EUID && seg.GID == creds.EGID || rs.oneUser {
		return number, nil
	}
	order := rs.root.leader().abi.Order()
	b := make([]byte, 256) // struct shmid64_ds: its ipc64_perm comes first
	order.PutUint32(b[4:], seg.UID)
	order.PutUint32(b[8:], seg.GID)
	order.PutUint32(b[20:], shm.Mode&0o777)
	if _, err := rs.root.do(sysShmctl, number, ipcSet, b); err != nil {
		return 0, fmt.Errorf("owner of System V shared memory %d: %w", number, err)
	}
	return number, nil
}

// removeSegments removes segments: they go with their last mapping.
func (rs *restarter) removeSegments(list []int32) error {
	for _, number := range list {
		if _, err := rs.root.do(sysShmctl, number, ipcRmid, 0); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.EIDRM) {
			return fmt.Errorf("remove System V shared memory %d: %w", number, err)
		}
	}
	return nil
}
