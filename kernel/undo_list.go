package kernel

import (
	"fmt"
	"sort"

	"golang.org/x/sys/unix"

	"cr/regset"
)

// undoList is how a caller of restart() gets rid of what has been staged in it
// if the kernel side is killed: system calls that undo it lie in its memory, the
// newest last, and code behind each system call that it is made to make works
// them off from there, and goes on with the undo code in the vdso. What undoes a
// call is in the list before the call is made. A descriptor or an address that
// only the call tells is put into the list by the code behind the call, so that
// nothing is ever undone that has not been done: the other threads of the caller
// run on by themselves.
//
// From the point of no return on the caller is to die with the kernel side.
type undoList struct {
	layout
	t    *task
	abi  regset.ABI
	mem  memory
	args span  // of the memory for arguments, which others will use
	own  []int // descriptors that the caller has, ascending

	// Two longs: the address of the last entry, and where the result of the next
	// call goes; then one that takes results that nobody needs. Behind the entries
	// lie data that they point to.
	cells              uint64
	entries, data, end uint64 // where the entries begin and end, and the data
	n                  int    // entries
	free               uint64 // what is free of the data

	// Addresses of system call instructions: for most calls, for clone3, whose
	// child exits, and for what threads do that were made for the image, which exit
	// then.
	insn, birth, last uint64
	work              uint64 // the code behind the first, and behind what takes its result

	next      *undoEntry // undoes the call that is made next
	recording []undoEntry
	records   bool       // calls are not made, but recorded
	eats      bool       // a SIGCHLD for a child of our making
	pause     *undoEntry // while a thread comes to its end
	made      map[undoKey]int

	// giveUp is called when the list is full: from then on the caller dies with the
	// kernel side.
	giveUp func() error
	gone   bool
}

// undoEntry is a call that undoes another one.
type undoEntry struct {
	listed
	slot     int  // the argument that is the result of the other; -1: none
	indirect bool // the first argument is the address of an int
	until0   bool // it is made again and again until the int in its last argument is 0
}

// What the last long of an entry says of it, if it is not the address of an int
// that is waited for to be 0.
const undoIndirect = 1

// undoKey is a call that undoes, and its first argument. Once it has been made
// otherwise it is not needed.
type undoKey struct {
	nr    sysno
	first uint64
}

// What an undo list has room for.
const (
	undoBytes = 64 << 10 // of data
	undoCalls = 256      // entries, and some for each file, mapping, process and name
)

// undoListSize is the memory that a list has, in bytes, for an image.
func (rs *restarter) undoListSize() (entries, data uint64) {
	n := undoCalls + 4*len(rs.img.Files) + 4*len(rs.img.Shms) + 2*len(rs.img.Processes) + 3*len(rs.img.Tasks) + 4*len(rs.img.Sockets) +
		2*(len(rs.img.Queues)+len(rs.img.Semaphores))
	for _, mm := range rs.img.MMs {
		n += 2 * len(mm.VMAs)
	}
	up := func(n uint64) uint64 { return (n + scratchSize - 1) / scratchSize * scratchSize }
	return up(uint64(n * entryLongs * 8)), undoBytes + up(uint64(len(rs.img.Sockets))*1024)
}

// newUndoList lays out a list in memory of the caller, of undoListSize.
func newUndoList(r *reborn, at, entries, data uint64) *undoList {
	const room = 64 // for the cells
	abi := r.leader().abi
	return &undoList{layout: layoutOf(abi), t: r.leader(), abi: abi, mem: r.mem, args: span{r.scratch, r.scratch + argsSize}, own: r.fds,
		cells: at, entries: at + room, data: at + entries, end: at + entries + data, free: at + entries, made: make(map[undoKey]int)}
}

// start writes the code to an address, and an empty list. unmap is where the undo
// code goes on.
func (u *undoList) start(at, unmap uint64) error {
	a := &assembler{layout: u.layout}
	c := u.code(a, at, unmap)
	u.insn, u.work, u.birth, u.last = at, at+c.work, at+c.birth, at+c.last
	if err := u.mem.write(at, a.b); err != nil {
		return err
	}
	return u.point(u.nowhere())
}

func (u *undoList) entrySize() uint64 { return uint64(entryLongs * u.word) }

// entry is the address of an entry; the first, 0, is the end of the list.
func (u *undoList) entry(i int) uint64 { return u.entries + uint64(i)*u.entrySize() }

// nowhere is where results go that nobody needs.
func (u *undoList) nowhere() uint64 { return u.cells + uint64(2*u.word) }

// point has the list begin at its last entry, and the result of the next call go
// to an address.
func (u *undoList) point(result uint64) error {
	b := make([]byte, 2*u.word)
	u.putLong(b, 0, u.entry(u.n))
	u.putLong(b, 1, result)
	return u.mem.write(u.cells, b)
}

// will has the next call be undone by another one, of which an argument is what
// the next call returns, unless slot is -1. Bytes are arguments as those of do.
func (u *undoList) will(slot int, nr sysno, args ...any) error {
	if u == nil || u.gone {
		return nil
	}
	e := undoEntry{slot: slot}
	e.number = nr.number(u.abi)
	for i, a := range args {
		if v, ok := register(a); ok {
			e.args[i] = v
			continue
		}
		b, ok := a.([]byte)
		if !ok {
			return fmt.Errorf("%s: an argument of type %T", nr, a)
		}
		at, err := u.keep(b)
		if err != nil || u.gone {
			return err
		}
		e.args[i] = at
	}
	u.next = &e
	return nil
}

// add adds a call to the list.
func (u *undoList) add(nr sysno, args ...any) error {
	if err := u.will(-1, nr, args...); err != nil || u == nil || u.gone {
		return err
	}
	e := *u.next
	u.next = nil
	_, err := u.push(e)
	return err
}

// keep lays data that an entry points to.
func (u *undoList) keep(b []byte) (uint64, error) {
	at := u.free
	if at+uint64(len(b)) > u.end {
		return 0, u.stop()
	}
	u.free = (at + uint64(len(b)) + 15) &^ 15
	return at, u.mem.write(at, b)
}

// stop gives the list up.
func (u *undoList) stop() error {
	u.gone, u.next = true, nil
	return u.giveUp()
}

// push adds an entry. What waits for the result of the next call has none yet.
func (u *undoList) push(e undoEntry) (at int, err error) {
	if u.entry(u.n+2) > u.data {
		return 0, u.stop()
	}
	b := make([]byte, u.entrySize())
	u.putCall(b, e.listed)
	if e.slot >= 0 {
		u.putLong(b, e.slot+1, ^uint64(0)) // an argument that is wrong in every call
	}
	switch {
	case e.indirect:
		u.putLong(b, entryResult, undoIndirect)
	case e.until0:
		u.putLong(b, entryResult, u.argument(u.n+1, lastArgument))
	}
	if err := u.mem.write(u.entry(u.n+1), b); err != nil {
		return 0, err
	}
	u.n++
	to := u.nowhere()
	if e.slot >= 0 {
		to = u.argument(u.n, e.slot)
	}
	return u.n, u.point(to)
}

// lastArgument is the number of the last argument of a call.
const lastArgument = 5

// argument is the address of an argument of an entry.
func (u *undoList) argument(i, slot int) uint64 {
	return u.entry(i) + uint64((slot+1)*u.word)
}

// set changes an argument of an entry.
func (u *undoList) set(i, slot int, v uint64) error {
	b := make([]byte, u.word)
	u.putLong(b, 0, v)
	return u.mem.write(u.argument(i, slot), b)
}

// drop takes the entries from first to last out of the list.
func (u *undoList) drop(first, last int) error {
	if u == nil || u.gone || first == 0 {
		return nil
	}
	if last == u.n {
		u.n = first - 1
		return u.point(u.nowhere())
	}
	b := make([]byte, u.word)
	u.putLong(b, 0, uint64(sysGetpid.number(u.abi))+1) // which changes nothing
	for i := first; i <= last; i++ {
		if err := u.mem.write(u.entry(i), b); err != nil {
			return err
		}
	}
	return nil
}

// newest is the last entry; 0 if there is none.
func (u *undoList) newest() int {
	if u == nil || u.gone {
		return 0
	}
	return u.n
}

// clear empties the list, as all has been undone.
func (u *undoList) clear() error {
	if u == nil || u.gone {
		return nil
	}
	u.n = 0
	return u.point(u.nowhere())
}

// undoRecord is a part of the list that is needed for a while only.
type undoRecord struct {
	first, last int
	data        span // what lies behind the entries for it
}

// record adds what a function does to the list, in that order, instead of having
// the process do it.
func (u *undoList) record(do func() error) (r undoRecord, err error) {
	if u == nil || u.gone {
		return r, nil
	}
	r.data.start = u.free
	u.records, u.recording = true, nil
	err = do()
	u.records, r.data.end = false, u.free
	for i := len(u.recording) - 1; i >= 0 && err == nil && !u.gone; i-- {
		r.last, err = u.push(u.recording[i])
	}
	if u.gone || len(u.recording) == 0 {
		return undoRecord{}, err
	}
	r.first = r.last - len(u.recording) + 1
	return r, err
}

// forget takes a record out of the list.
func (u *undoList) forget(r undoRecord) error {
	if err := u.drop(r.first, r.last); err != nil || u == nil {
		return err
	}
	if u.free == r.data.end && r.first != 0 {
		u.free = r.data.start
	}
	return nil
}

// note takes a call to the record. Its arguments are taken from the memory for
// them, where the next calls' will be.
func (u *undoList) note(nr sysno, args []uint64) error {
	const longest = unix.PathMax
	if u.gone {
		return nil
	}
	e := undoEntry{slot: -1}
	e.number = nr.number(u.abi)
	copy(e.args[:], args)
	for i, at := range args {
		if at < u.args.start || at >= u.args.end {
			continue
		}
		size := u.args.end - at
		if size > longest {
			size = longest
		}
		b := make([]byte, size)
		if err := u.mem.read(at, b); err != nil {
			return err
		}
		kept, err := u.keep(b)
		if err != nil || u.gone {
			return err
		}
		e.args[i] = kept
	}
	u.recording = append(u.recording, e)
	return nil
}

// undoes says how a call is undone, as far as its number and arguments tell: by
// entries that are added before it is made.
func (u *undoList) undoes(nr sysno, args []uint64) []undoEntry {
	by := func(slot int, nr sysno, args ...uint64) []undoEntry {
		e := undoEntry{slot: slot}
		e.number = nr.number(u.abi)
		copy(e.args[:], args)
		return []undoEntry{e}
	}
	arg := func(i int) uint64 {
		if i < len(args) {
			return args[i]
		}
		return 0
	}
	closed := by(0, sysClose, 0)
	switch nr {
	case sysOpenat, sysMemfdCreate, sysPidfdOpen, sysPidfdGetfd, sysEventfd2, sysEpollCreate1, sysTimerfdCreate,
		sysInotifyInit1, sysSocket, sysAccept4, sysMqOpen:
		return closed
	case sysSignalfd4:
		if int32(arg(0)) == -1 {
			return closed
		}
	case sysFcntl:
		if arg(1) == unix.F_DUPFD || arg(1) == unix.F_DUPFD_CLOEXEC {
			return closed
		}
	case sysIoctl:
		if arg(1) == unix.TIOCGPTPEER {
			return closed
		}
	case sysDup3:
		// One that the caller has open is put back by it.
		if to := int(arg(1)); !contains(u.own, to) {
			return by(-1, sysClose, arg(1))
		}
	case sysPipe2, sysSocketpair:
		at := pairOf(nr, args)
		list := append(by(-1, sysClose, at), by(-1, sysClose, at+4)...)
		list[0].indirect, list[1].indirect = true, true
		return list
	case sysMmap:
		return by(0, sysMunmap, 0, arg(1))
	case sysMremap:
		return by(-1, sysMunmap, arg(4), arg(2))
	case sysShmat:
		return by(0, sysShmdt, 0)
	case sysShmget:
		if arg(2)&ipcExclusive != 0 {
			return by(0, sysShmctl, 0, ipcRmid)
		}
	case sysMsgget:
		if arg(1)&ipcExclusive != 0 {
			return by(0, sysMsgctl, 0, ipcRmid)
		}
	case sysSemget:
		if arg(2)&ipcExclusive != 0 {
			return by(0, sysSemctl, 0, 0, ipcRmid)
		}
	case sysPkeyAlloc:
		return by(0, sysPkeyFree, 0)
	}
	return nil
}

// contains reports whether a number is in an ascending list.
func contains(list []int, n int) bool {
	i := sort.SearchInts(list, n)
	return i < len(list) && list[i] == n
}

// pairOf is the address of the two descriptors that a call returns; 0 if it
// returns none.
func pairOf(nr sysno, args []uint64) uint64 {
	switch nr {
	case sysPipe2:
		return args[0]
	case sysSocketpair:
		return args[3]
	}
	return 0
}

// around has a call be undone: it adds to the list what undoes it, makes it, and
// completes the list.
func (u *undoList) around(nr sysno, args []uint64, do func() (uint64, error)) (uint64, error) {
	list := u.undoes(nr, args)
	if u.next != nil {
		list, u.next = []undoEntry{*u.next}, nil
	}
	pair := pairOf(nr, args)
	if pair != 0 {
		none := make([]byte, 8)
		for i := range none {
			none[i] = 0xff
		}
		if err := u.mem.write(pair, none); err != nil {
			return 0, err
		}
	}
	first := u.n + 1
	for _, e := range list {
		if e.slot >= 0 {
			if err := u.park(); err != nil {
				return 0, err
			}
		}
		if _, err := u.push(e); err != nil {
			return 0, err
		}
		if u.gone {
			return do()
		}
	}
	result, err := do()
	if err != nil {
		if len(list) == 0 || !isErrno(err) {
			return result, err
		}
		return result, firstError(err, u.drop(first, u.n))
	}
	for i, e := range list {
		if e.slot < 0 {
			continue
		}
		if err := u.set(first+i, e.slot, result); err != nil {
			return result, err
		}
		if err := u.point(u.nowhere()); err != nil {
			return result, err
		}
		list[i].args[e.slot] = result
	}
	if pair != 0 {
		var b [8]byte
		if err := u.mem.read(pair, b[:]); err != nil {
			return result, err
		}
		for i := range list {
			// Once more, as the memory for arguments is about to be used again.
			list[i].args[0], list[i].indirect = uint64(u.order.Uint32(b[4*i:])), false
			if _, err := u.push(list[i]); err != nil || u.gone {
				return result, err
			}
		}
		if err := u.drop(first, first+1); err != nil {
			return result, err
		}
		first += 2
	}
	return result, u.settle(nr, args, list, first)
}

// park takes the task to where it does not take what it has in its registers, the
// result of the last call, for that of the next.
func (u *undoList) park() error {
	regs, err := u.t.anyRegs()
	if err != nil {
		return err
	}
	u.t.arch.SetPC(u.abi, regs, u.work)
	return u.t.setRegset(regset.PRSTATUS, regs)
}

// settle notes what has been made, and that a call has done what is in the list.
func (u *undoList) settle(nr sysno, args []uint64, list []undoEntry, first int) error {
	for i, e := range list {
		for _, by := range []sysno{sysClose, sysMunmap, sysPkeyFree} {
			if e.number == by.number(u.abi) {
				u.made[undoKey{by, e.args[0]}] = first + i
			}
		}
	}
	switch {
	case len(args) == 0:
		return nil
	case nr == sysMremap && args[1] != 0:
		nr = sysMunmap // of where it was
	}
	k := undoKey{nr, args[0]}
	if nr == sysClose {
		k.first = uint64(uint32(args[0]))
	}
	i := u.made[k]
	if i == 0 {
		return nil
	}
	delete(u.made, k)
	return u.drop(i, i)
}
