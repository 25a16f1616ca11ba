package kernel

import (
	"bytes"
	"errors"
	"os"

	"golang.org/x/sys/unix"

	"cr/image"
)

// maxNodes is how many nodes of memory a kernel can have at most.
const maxNodes = 1024

// manyNodes reports whether this machine has more nodes of memory than one;
// otherwise a policy says nothing.
var manyNodes = func() bool {
	b, err := os.ReadFile("/sys/devices/system/node/online")
	return err == nil && bytes.ContainsAny(b, "-,")
}

// memPolicy saves on which nodes of memory a task allocates.
func (s *saver) memPolicy(p *process, t *task, r *image.Task) error {
	if !manyNodes() {
		return nil
	}
	const mask = 16 // where it lies, behind the mode
	_, err := t.call(sysGetMempolicy, p.scratch, p.scratch+mask, maxNodes, 0, 0)
	if errors.Is(err, unix.ENOSYS) {
		return nil
	}
	if err != nil {
		return err
	}
	b := make([]byte, mask+maxNodes/8)
	if err := p.mem.read(p.scratch, b); err != nil {
		return err
	}
	l := layoutOf(t.abi)
	r.MemPolicy.Mode = l.order.Uint32(b)
	nodes := l.swapMask(b[mask:])
	for len(nodes) > 0 && nodes[len(nodes)-1] == 0 {
		nodes = nodes[:len(nodes)-1]
	}
	if len(nodes) > 0 {
		r.MemPolicy.Nodes = nodes
	}
	return nil
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
