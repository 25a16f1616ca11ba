package kernel

import (
	"golang.org/x/sys/unix"

	"cr/image"
)

// lowVDSO finds a place for the vdso and its data, of a size in bytes, of a
// 64-bit kernel in a 32-bit task whose image a 32-bit kernel could take: below the
// end of that, so that the next image goes wherever this one can. It gives 0
// where they need not be there, or there is no room.
func (r *reborn) lowVDSO(now span) uint64 {
	limit := endOf(r.mm)
	if r.leader().abi.WordSize() != 4 || now.end <= lowEnd || limit > lowEnd {
		return 0
	}
	size := now.end - now.start
	at, err := r.space.takeBelow(limit, size, stackRoom(r.mm, r.rec.Limits[unix.RLIMIT_STACK].Cur, limit))
	if err != nil {
		at, _ = r.space.takeBelow(limit, size, nil) // 0 if that fails, too
	}
	return at
}

// stackRoom is what is left free for stacks to grow into: their limit, and no
// less than 128 MiB nor more than five sixths of what there is, as mmap leaves it
// free (mm/util.c, mmap_base).
func stackRoom(mm *image.MM, limit, memory uint64) spans {
	const least = 128 << 20
	most := memory / 6 * 5
	if limit < least {
		limit = least
	}
	if limit > most {
		limit = most
	}
	var room spans
	for _, v := range mm.VMAs {
		if v.Flags&image.VMAGrowsDown == 0 {
			continue
		}
		s := span{0, v.Start}
		if v.Start > limit {
			s.start = v.Start - limit
		}
		room = room.add(s)
	}
	return room
}
