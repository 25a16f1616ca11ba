package kernel

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// unsupported are kinds of open files that cannot be saved, by the name that
// the link in /proc/PID/fd has.
var unsupported = []struct{ prefix, what, hint string }{
	{"anon_inode:[io_uring]", "io_uring: its requests are in the kernel's hands", "run the program without io_uring"},
	{"anon_inode:[userfaultfd]", "userfaultfd: another program may answer its faults", "close it first"},
	{"anon_inode:[fanotify]", "fanotify: it may hold up other programs", "close it first"},
	{"anon_inode:[perf_event]", "a performance counter", "close it first"},
	{"anon_inode:bpf", "BPF: programs and maps are the kernel's", "close it, and load it again after restart"},
	{"anon_inode:btf", "BPF type data", "close it first"},
	{"anon_inode:seccomp notify", "a listener of a seccomp filter", "checkpoint the processes under the filter only"},
	{"anon_inode:kvm", "a virtual machine", "stop the virtual machine"},
	{"anon_inode:[landlock", "a Landlock ruleset", "close it first"},
	{"anon_inode:[secretmem]", "secret memory, which nobody else can read", "run the program without memfd_secret"},
	{"anon_inode:dmabuf", "memory of a device", "close it first"},
	{"/dmabuf:", "memory of a device", "close it first"},
	{"anon_inode:[fscontext]", "a file system that is being mounted", "let it be mounted first"},
	{"mnt:[", "a namespace", "close it first"},
	{"net:[", "a namespace", "close it first"},
	{"pid:[", "a namespace", "close it first"},
	{"user:[", "a namespace", "close it first"},
	{"uts:[", "a namespace", "close it first"},
	{"ipc:[", "a namespace", "close it first"},
	{"cgroup:[", "a namespace", "close it first"},
	{"time:[", "a namespace", "close it first"},
}

func isAnon(name string) func(*openDescriptor) bool {
	return func(d *openDescriptor) bool { return d.file.Path == "anon_inode:"+name }
}

func isUnsupported(*openDescriptor) bool { return true }

// refuseUnsupported names what an open file is that cannot be saved.
func refuseUnsupported(s *saver, d *openDescriptor) error {
	for _, u := range unsupported {
		if strings.HasPrefix(d.file.Path, u.prefix) {
			s.refuseFile(d, u.what, u.hint)
			return nil
		}
	}
	switch d.st.Mode & unix.S_IFMT {
	case unix.S_IFCHR:
		s.refuseFile(d, fmt.Sprintf("a device (%d:%d)", unix.Major(d.st.Rdev), unix.Minor(d.st.Rdev)), "close it first")
	case unix.S_IFBLK:
		s.refuseFile(d, fmt.Sprintf("a block device (%d:%d)", unix.Major(d.st.Rdev), unix.Minor(d.st.Rdev)), "close it first")
	default:
		s.refuseFile(d, "an open file of a kind that cannot be saved", "close it first")
	}
	return nil
}
