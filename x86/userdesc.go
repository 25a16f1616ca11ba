package x86

import "cr/regset"

// userDesc is struct user_desc of include/uapi/asm/ldt.h.
type userDesc struct {
	entry, base, limit, flags uint32
}

const userDescSize = 16

// Flags of a userDesc.
const (
	descSeg32      = 1 << 0
	descContents   = 3 << 1
	descReadExec   = 1 << 3
	descPages      = 1 << 4
	descNotPresent = 1 << 5
	descUseable    = 1 << 6
	// Above is lm, which the kernel never takes (fill_ldt), and nothing.
	descFlags = 1<<7 - 1

	descContentsShift = 1
	descExpandDown    = 1 // the largest contents that is data
	descConforming    = 3

	descMaxLimit = 1<<20 - 1
)

func userDescAt(b []byte) userDesc {
	return userDesc{le.Uint32(b), le.Uint32(b[4:]), le.Uint32(b[8:]), le.Uint32(b[12:])}
}

func (d userDesc) put(b []byte) {
	for i, v := range []uint32{d.entry, d.base, d.limit, d.flags} {
		le.PutUint32(b[4*i:], v)
	}
}

func (d userDesc) contents() uint32 { return d.flags & descContents >> descContentsShift }

// empty is what the kernel takes for no segment: LDT_empty, LDT_zero.
func (d userDesc) empty() bool {
	f := d.flags & descFlags
	return d.base == 0 && d.limit == 0 && (f == descReadExec|descNotPresent || f == 0)
}

// userDescs splits a set of them; a rest is left out.
func userDescs(data []byte) []userDesc {
	var list []userDesc
	for ; len(data) >= userDescSize; data = data[userDescSize:] {
		list = append(list, userDescAt(data))
	}
	return list
}

func anyDesc(data []byte) bool {
	for _, d := range userDescs(data) {
		if !d.empty() {
			return true
		}
	}
	return false
}

// dropLM clears the flags that the kernel does not take.
func dropLM(data []byte) []byte {
	fit := clone(data)
	for i := 0; i+userDescSize <= len(fit); i += userDescSize {
		d := userDescAt(fit[i:])
		d.flags &= descFlags
		d.put(fit[i:])
	}
	return fit
}

func checkLimit(set, reg string, d userDesc, out *regset.Problems) {
	if d.limit > descMaxLimit {
		problem(out, set, reg, "limit %#x has more than 20 bits", d.limit)
	}
}
