package image

import (
	"fmt"
	"path"
	"strings"
)

// mountTypes are the types of file systems that an image can hold.
var mountTypes = map[string]bool{"proc": true, "sysfs": true, "mqueue": true, "tmpfs": true}

// MountFlags are the options of a mount that an image can hold, and their flags
// of mount(2).
var MountFlags = map[string]uint32{
	"rw": 0, "ro": 1, "nosuid": 2, "nodev": 4, "noexec": 8, "noatime": 1 << 10, "nodiratime": 1 << 11, "relatime": 1 << 21,
}

// Bad says why an image cannot hold a mount, "" if it can.
func (m *Mount) Bad() string {
	switch {
	case !mountTypes[m.Type]:
		return fmt.Sprintf("a file system of type %q", m.Type)
	case m.Target != path.Clean(m.Target) || !strings.HasPrefix(m.Target, "/") || len(m.Target) > maxPath || len(m.Source) > maxName || hasNUL(m.Target, m.Source):
		return fmt.Sprintf("%q at %q", m.Source, m.Target)
	}
	for _, option := range strings.Split(m.Options, ",") {
		if _, known := MountFlags[option]; !known {
			return fmt.Sprintf("its option %q", option)
		}
	}
	for _, option := range strings.Split(m.Super, ",") {
		if !m.known(option) {
			return fmt.Sprintf("its option %q", option)
		}
	}
	return ""
}

// known reports whether an option is one that the file system can be mounted
// with, or has by itself.
func (m *Mount) known(option string) bool {
	if option == "rw" || m.Type == "tmpfs" && option == "inode64" { // that of Linux 5.9 and later
		return true
	}
	key, value, _ := strings.Cut(option, "=")
	if m.Type != "tmpfs" || value == "" || len(value) > 20 {
		return false
	}
	return (key == "size" || key == "nr_inodes") && strings.Trim(value, "0123456789k") == "" ||
		key == "mode" && strings.Trim(value, "01234567") == ""
}

// Data are the options that the file system is to be mounted with.
func (m *Mount) Data() string {
	var list []string
	for _, option := range strings.Split(m.Super, ",") {
		if strings.Contains(option, "=") {
			list = append(list, option)
		}
	}
	return strings.Join(list, ",")
}

// maxPath is the longest path that system calls take (PATH_MAX), without its NUL.
const maxPath = 4095
