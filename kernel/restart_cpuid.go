package kernel

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"cr/convert"
	"cr/image"
	"cr/regset"
	"cr/x86"
)

// Programs of cr run --cpu go on to be told no more than they were: what cpuid
// tells a process stands in its image, and who restarts it becomes its keeper.

// planCPUID finds out, before anything is made, whether this program can answer
// cpuid for those processes of the image that are told less than the CPU has. Where
// it cannot be made to fault, they see all from now on.
func (rs *restarter) planCPUID() error {
	for _, p := range rs.img.Processes {
		hidden := rs.hiddenFrom(p)
		switch {
		case hidden == 0:
		case !CPUIDFaults():
			if rs.options.Warn != nil {
				rs.options.Warn(fmt.Errorf("pid %d was started by cr run --cpu, and sees %s from now on: the CPU, or the kernel, cannot make cpuid fault",
					p.PID, strings.Join(regset.Names(x86.Arch, hidden), ", ")))
			}
		case theKeeper != nil:
			rs.tells = true
		case rs.ownProcess:
			KeepTasks(rs.options.Warn)
			rs.tells = true
		default:
			return &RefusedError{PID: int(p.PID), Kind: "process", Errno: unix.EOPNOTSUPP,
				Reason: "it was started by cr run --cpu, and somebody has to answer its cpuid instructions",
				Hint:   "restart it with cr restart, or in a program that was started by cr run --cpu"}
		}
	}
	return nil
}

// hiddenFrom is what the machine has and a process of the image is not to see.
func (rs *restarter) hiddenFrom(p *image.Process) regset.Mask {
	if p.Told == 0 || p.State == image.Zombie || hostABI.IsPPC() {
		return 0
	}
	return rs.machine.Has &^ p.Told
}

// commitCPUID makes cpuid fault in a task, if it is to be answered by the keeper: by
// no more than the image has, nor than the caller of restart() is told.
func (rs *restarter) commitCPUID(r *reborn, t *task) error {
	callers := keptCPU(t.tid)
	if rs.tells && rs.hiddenFrom(r.rec) != 0 {
		told := &convert.CPU{Allowed: r.rec.Told & rs.machine.Has}
		if callers != nil {
			told.Allowed &= callers.Allowed
		}
		theKeeper.keepFor(t.tid, told)
	} else if callers == nil {
		return nil
	}
	return t.faultCPUID()
}
