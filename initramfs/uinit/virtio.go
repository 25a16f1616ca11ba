package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"cr/initramfs/agent"
	"cr/internal/kconfig"
)

// patience is how long a device that is there may take to get its node in /dev.
const patience = 5 * time.Second

// openPort opens the virtio-serial port of that name. The error is
// fs.ErrNotExist if there is none.
func openPort(name string) (*os.File, error) {
	names, err := filepath.Glob("/sys/class/virtio-ports/*/name")
	if err != nil {
		return nil, err
	}
	for _, path := range names {
		got, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		if strings.TrimSpace(string(got)) != name {
			continue
		}
		node := "/dev/" + filepath.Base(filepath.Dir(path))
		for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
			port, err := os.OpenFile(node, os.O_RDWR, 0)
			if err == nil || time.Now().After(deadline) {
				return port, err
			}
		}
	}
	return nil, fmt.Errorf("virtio port %s: %w", name, fs.ErrNotExist)
}

// noPort says why there is no port: what the kernel is not configured with, or
// what went wrong.
func noPort(err error) string {
	if missing := kconfig.Running().Missing("PCI", "VIRTIO_PCI", "VIRTIO_CONSOLE", "DEVTMPFS"); missing != "" {
		return missing
	}
	return err.Error()
}

// virtio9P is the id of 9p devices (include/uapi/linux/virtio_ids.h).
const virtio9P = "0x0009"

// has9P reports whether the host offers a directory, whatever the kernel can do
// with it.
func has9P() bool {
	paths, err := filepath.Glob("/sys/bus/virtio/devices/*/device")
	if err != nil {
		return false
	}
	for _, path := range paths {
		if id, err := os.ReadFile(path); err == nil && strings.TrimSpace(string(id)) == virtio9P {
			return true
		}
	}
	return false
}

// mountHost mounts the host's directory, if there is one.
func mountHost() error {
	tags, err := filepath.Glob("/sys/bus/virtio/drivers/9pnet_virtio/*/mount_tag")
	if err != nil {
		return err
	}
	if len(tags) == 0 && has9P() {
		return fmt.Errorf("no %s: %s", agent.Dir, kconfig.Running().Missing("NET_9P_VIRTIO", "9P_FS"))
	}
	for _, path := range tags {
		tag, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if strings.TrimRight(string(tag), "\x00\n") != agent.Tag {
			continue
		}
		if err := os.MkdirAll(agent.Dir, 0o755); err != nil {
			return err
		}
		err = syscall.Mount(agent.Tag, agent.Dir, "9p", 0, "trans=virtio,version=9p2000.L,msize=262144,access=client")
		if err != nil {
			if missing := kconfig.Running().Missing("9P_FS"); missing != "" {
				return fmt.Errorf("no %s: %s", agent.Dir, missing)
			}
			return fmt.Errorf("mounting the host's directory: %w", err)
		}
	}
	return nil
}
