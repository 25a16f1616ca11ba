package main

import (
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// limitChunk is how much the limits copy at a time, in bytes: it stays in the
// cache between the two copies.
const limitChunk = 256 << 10

// copyOut is what a checkpoint cannot do without: it reads the memory of a
// target and writes it to a new file; as often as there are processes.
func copyOut(t *target, mib, processes int, file string) (sample, error) {
	size := mib << 20
	return timed(func() error {
		f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
		if err != nil {
			return err
		}
		defer f.Close()
		return pieces(size*processes, func(at int, buf []byte) error {
			local := []unix.Iovec{{Base: &buf[0]}}
			local[0].SetLen(len(buf))
			remote := []unix.RemoteIovec{{Base: t.addr + uintptr(at%size), Len: len(buf)}}
			if _, err := unix.ProcessVMReadv(t.pid(), local, remote, 0); err != nil {
				return err
			}
			_, err := f.Write(buf)
			return err
		})
	})
}

// copyIn is what a restart cannot do without: it reads a file and writes it to
// memory of a target that was never touched.
func copyIn(t *target, size int, file string) (sample, error) {
	return timed(func() error {
		f, err := os.Open(file)
		if err != nil {
			return err
		}
		defer f.Close()
		return pieces(size, func(at int, buf []byte) error {
			if _, err := f.Read(buf); err != nil {
				return err
			}
			local := []unix.Iovec{{Base: &buf[0]}}
			local[0].SetLen(len(buf))
			remote := []unix.RemoteIovec{{Base: t.addr + uintptr(at), Len: len(buf)}}
			_, err := unix.ProcessVMWritev(t.pid(), local, remote, 0)
			return err
		})
	})
}

// pieces calls f for every piece of size bytes.
func pieces(size int, f func(at int, buf []byte) error) error {
	buf := make([]byte, limitChunk)
	for at := 0; at < size; at += limitChunk {
		if err := f(at, buf); err != nil {
			return err
		}
	}
	return nil
}

// timed runs f and tells what it took.
func timed(f func() error) (sample, error) {
	before, err := usage()
	if err != nil {
		return sample{}, err
	}
	start := time.Now()
	if err := f(); err != nil {
		return sample{}, err
	}
	wall := time.Since(start)
	after, err := usage()
	return sample{wall: wall, cpu: after - before}, err
}

// usage is the processor time that this program has taken.
func usage() (time.Duration, error) {
	var r unix.Rusage
	err := unix.Getrusage(unix.RUSAGE_SELF, &r)
	return time.Duration(r.Utime.Nano() + r.Stime.Nano()), err
}
