package kernel

import (
	"golang.org/x/sys/unix"

	"cr/image"
)

// futureLocks saves whether the mappings to come of a process are locked
// (mlockall(2)), which the scratch memory tells: it has been mapped just now.
func (s *saver) futureLocks(p *process, mm *image.MM) error {
	st, err := readStatus(p.pid)
	if err != nil {
		return err
	}
	if st.locked == p.status.locked {
		return nil
	}
	areas, err := readAreas(p.pid, true)
	if err != nil {
		return err
	}
	for i := range areas {
		a := &areas[i]
		if a.start > p.scratch || a.end <= p.scratch || !a.has("lo") {
			continue
		}
		mm.Future = image.VMALocked
		if a.has("lf") {
			mm.Future |= image.VMALockOnFault
		}
	}
	return nil
}

// commitFuture locks mappings to come.
func (rs *restarter) commitFuture(r *reborn) error {
	if r.mm.Future&image.VMALocked == 0 {
		return nil
	}
	flags := unix.MCL_FUTURE
	if r.mm.Future&image.VMALockOnFault != 0 {
		flags |= unix.MCL_ONFAULT
	}
	_, err := r.do(sysMlockall, flags)
	return err
}
