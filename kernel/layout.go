package kernel

import (
	"encoding/binary"
	"unsafe"

	"cr/image"
	"cr/regset"
)

// layout reads and writes the structures of a task's ABI in bytes of its
// memory.
type layout struct {
	order binary.ByteOrder
	word  int // size of a long and of a pointer, in bytes
}

func layoutOf(abi regset.ABI) layout { return layout{abi.Order(), abi.WordSize()} }

// ownLayout is that of this program.
var ownLayout = layout{hostOrder, int(unsafe.Sizeof(uintptr(0)))}

// long reads the long or pointer at an index, counted in longs.
func (l layout) long(b []byte, i int) uint64 {
	if l.word == 4 {
		return uint64(l.order.Uint32(b[i*4:]))
	}
	return l.order.Uint64(b[i*8:])
}

func (l layout) putLong(b []byte, i int, v uint64) {
	if l.word == 4 {
		l.order.PutUint32(b[i*4:], uint32(v))
		return
	}
	l.order.PutUint64(b[i*8:], v)
}

// sigset reads a sigset_t: longs, that of the lowest signals first.
func (l layout) sigset(b []byte) uint64 {
	if l.word == 4 {
		return l.long(b, 0) | l.long(b, 1)<<32
	}
	return l.long(b, 0)
}

func (l layout) putSigset(b []byte, set uint64) {
	l.putLong(b, 0, set)
	if l.word == 4 {
		l.putLong(b, 1, set>>32)
	}
}

// actionSize is the size of the kernel's struct sigaction: handler, flags,
// restorer, mask (include/linux/signal_types.h).
func (l layout) actionSize() int { return 3*l.word + sigsetSize }

func (l layout) action(b []byte) image.Action {
	return image.Action{
		Handler:  l.long(b, 0),
		Flags:    l.long(b, 1),
		Restorer: l.long(b, 2),
		Mask:     l.sigset(b[3*l.word:]),
	}
}

func (l layout) putAction(a image.Action) []byte {
	b := make([]byte, l.actionSize())
	l.putLong(b, 0, a.Handler)
	l.putLong(b, 1, a.Flags)
	l.putLong(b, 2, a.Restorer)
	l.putSigset(b[3*l.word:], a.Mask)
	return b
}

// altStackSize is the size of stack_t: pointer, int, size.
func (l layout) altStackSize() int { return 3 * l.word }

func (l layout) altStack(b []byte) image.AltStack {
	return image.AltStack{SP: l.long(b, 0), Flags: l.order.Uint32(b[l.word:]), Size: l.long(b, 2)}
}

func (l layout) putAltStack(a image.AltStack) []byte {
	b := make([]byte, l.altStackSize())
	l.putLong(b, 0, a.SP)
	l.order.PutUint32(b[l.word:], a.Flags)
	l.putLong(b, 2, a.Size)
	return b
}

// itimerSize is the size of struct itimerval: two pairs of seconds and
// microseconds.
func (l layout) itimerSize() int { return 4 * l.word }

func (l layout) itimer(b []byte) image.Itimer {
	return image.Itimer{
		Interval: int64(l.long(b, 0))*1e6 + int64(l.long(b, 1)),
		Value:    int64(l.long(b, 2))*1e6 + int64(l.long(b, 3)),
	}
}

func (l layout) putItimer(t image.Itimer) []byte {
	b := make([]byte, l.itimerSize())
	for i, v := range []int64{t.Interval / 1e6, t.Interval % 1e6, t.Value / 1e6, t.Value % 1e6} {
		l.putLong(b, i, uint64(v))
	}
	return b
}
