package kernel

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sort"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"cr/image"
)

// maxNodes is how many nodes of memory a kernel can have at most.
const maxNodes = 1024

// manyNodes reports whether this machine has more nodes of memory than one;
// otherwise a policy says nothing.
var manyNodes = func() bool {
	onlineNodes.once.Do(func() {
		b, err := os.ReadFile("/sys/devices/system/node/online")
		onlineNodes.many = err == nil && bytes.ContainsAny(b, "-,")
	})
	return onlineNodes.many
}

var onlineNodes struct {
	once sync.Once
	many bool
}

// areaPolicies saves on which nodes of memory mappings are allocated (mbind(2)).
// /proc/PID/numa_maps tells which may have a policy of their own: those without
// have that of the task there.
func (s *saver) areaPolicies(p *process, mm *image.MM) error {
	if !manyNodes() {
		return nil
	}
	b, err := readProc(p.pid, "numa_maps")
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	may := make(map[uint64]bool)
	for _, line := range strings.Split(string(b), "\n") {
		f := strings.Fields(line)
		if len(f) < 2 || f[1] == "default" {
			continue
		}
		start, err := strconv.ParseUint(f[0], 16, 64)
		if err != nil {
			return fmt.Errorf("%s: %q: %w", procPath(p.pid, "numa_maps"), line, err)
		}
		may[start] = true
	}
	for i := range mm.VMAs {
		v := &mm.VMAs[i]
		if !may[v.Start] || v.Kind == image.VDSO || v.Kind == image.VVAR {
			continue
		}
		const ofAddress = 2 // MPOL_F_ADDR
		policy, err := p.readPolicy(p.leader(), v.Start, ofAddress)
		if err != nil {
			return err
		}
		if policy.Mode != 0 || len(policy.Nodes) > 0 {
			mm.Policies = append(mm.Policies, image.AreaPolicy{Start: v.Start, Policy: policy})
		}
	}
	return nil
}

// setAreaPolicy sets the policy of a mapping that is staged, before its pages are
// there.
func (r *reborn) setAreaPolicy(s *stagedVMA) error {
	list := r.mm.Policies
	i := sort.Search(len(list), func(i int) bool { return list[i].Start >= s.Start })
	if i == len(list) || list[i].Start != s.Start {
		return nil
	}
	m := &list[i].Policy
	mask := make([]byte, maxNodes/8)
	copy(mask, m.Nodes)
	_, err := r.do(sysMbind, s.at, s.End-s.Start, m.Mode, layoutOf(r.leader().abi).swapMask(mask), maxNodes, 0)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) {
		return nil // as for a task
	}
	return err
}

// memPolicy saves on which nodes of memory a task allocates.
func (s *saver) memPolicy(p *process, t *task, r *image.Task) error {
	if !manyNodes() {
		return nil
	}
	policy, err := p.readPolicy(t, 0, 0)
	if errors.Is(err, unix.ENOSYS) {
		return nil
	}
	r.MemPolicy = policy
	return err
}

// readPolicy has a task say its memory policy, or that of an address.
func (p *process) readPolicy(t *task, addr, flags uint64) (m image.MemPolicy, err error) {
	c := p.callsOf(t)
	mode, mask := c.room(4), c.room(maxNodes/8)
	c.add(nil, sysGetMempolicy, mode, mask, maxNodes, addr, flags)
	if err := c.run(); err != nil {
		return m, err
	}
	l := layoutOf(t.abi)
	m.Mode = l.order.Uint32(c.bytes(mode, 4))
	nodes := l.swapMask(c.bytes(mask, maxNodes/8))
	for len(nodes) > 0 && nodes[len(nodes)-1] == 0 {
		nodes = nodes[:len(nodes)-1]
	}
	if len(nodes) > 0 {
		m.Nodes = nodes
	}
	return m, nil
}

// commitMemPolicy sets it. Nodes that are not there are done without: it is
// about speed only.
func (r *reborn) commitMemPolicy(t *task, rec *image.Task) error {
	m := &rec.MemPolicy
	if m.Mode == 0 && len(m.Nodes) == 0 {
		return nil
	}
	mask := make([]byte, maxNodes/8)
	copy(mask, m.Nodes)
	_, err := r.doAt(t, sysSetMempolicy, m.Mode, layoutOf(t.abi).swapMask(mask), maxNodes)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) {
		return nil
	}
	return err
}
