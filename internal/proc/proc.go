// Package proc reads of /proc what several packages want to know. What a
// checkpoint or a restart goes by is read, and checked, by package kernel.
package proc

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Children lists the children of a process, as the kernel keeps them
// (CONFIG_PROC_CHILDREN); none if it has ended. While one exits, others may be
// missing (proc_tid_children(5)).
func Children(pid int) ([]int, error) {
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		return nil, err
	}
	var list []int
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			continue // the thread has gone
		}
		for _, f := range strings.Fields(string(b)) {
			c, err := strconv.Atoi(f)
			if err != nil {
				return nil, fmt.Errorf("%s is malformed: %w", file, err)
			}
			list = append(list, c)
		}
	}
	return list, nil
}
