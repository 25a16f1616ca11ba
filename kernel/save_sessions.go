package kernel

import "fmt"

// checkSessions refuses processes whose session a restart could not put them in:
// a process is in that of the one that makes it (maker), unless it leads one.
func (s *saver) checkSessions() {
	madeFor := make(map[uint32]uint32) // sessions whose leaders have ended: the parent of their processes
	root := s.img.Processes[0]
	if root.SessionEnded && !root.CtlTTY {
		madeFor[root.SID] = root.PPID
	}
	for i, rec := range s.img.Processes {
		parent := s.img.Process(rec.PPID)
		if i == 0 || parent == nil || rec.SID == parent.SID || rec.SID == rec.PID {
			continue
		}
		leader := s.img.Process(rec.SID)
		if parent.SID == parent.PID {
			before := s.img.Process(parent.PPID)
			if before != nil && before.SID == rec.SID || parent == root && leader == nil && !rec.SessionEnded {
				continue // it was there before its parent led one
			}
		}
		if leader != nil && leader.PPID == rec.PPID {
			continue
		}
		if made, ok := madeFor[rec.SID]; leader == nil && (!ok || made == rec.PPID) {
			madeFor[rec.SID] = rec.PPID
			continue
		}
		s.refuse(s.tree.processes[i], "process", rec.Comm,
			fmt.Sprintf("it is in session %d, in which its parent is not, nor a child of its parent that could have made it", rec.SID), "end it")
	}
}
