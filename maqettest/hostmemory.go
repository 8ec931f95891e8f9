package maqettest

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/vm"
)

// envMemory is the environment variable with the memory for the guests of this process.
const envMemory = "MAQET_TEST_MEMORY"

// memoryBudget returns how much memory the guests of this process may have: what the
// environment says, or half of what the host has left, because go test runs several packages
// at once. root is "/", but in tests.
func memoryBudget(root string) (vm.Size, error) {
	if text := os.Getenv(envMemory); text != "" {
		size, err := vm.ParseSize(text)
		if err == nil && size <= 0 {
			err = fmt.Errorf("%q is no memory at all", text)
		}
		if err != nil {
			return 0, &errors.Error{Kind: errors.ErrInvalidConfiguration, Op: "read the environment variable " + envMemory, Err: err,
				Hint: "it is the memory that all guests of a test program may have, such as 2G"}
		}
		return size, nil
	}
	left, err := freeMemory(root)
	if err != nil {
		return 0, errors.Wrap(errors.ErrInvalidConfiguration, "find out how much memory is free", "", err)
	}
	return left / 2 / vm.MiB * vm.MiB, nil
}

// freeMemory returns how much memory can be used without swapping: what the host has
// available, and at most what the control groups of this process, such as a container's, leave.
func freeMemory(root string) (vm.Size, error) {
	text, err := os.ReadFile(filepath.Join(root, "proc/meminfo"))
	if err != nil {
		return 0, err
	}
	left, ok := counter(string(text), "MemAvailable:")
	if !ok {
		return 0, errors.New("/proc/meminfo has no MemAvailable")
	}
	left *= vm.KiB
	// Version 2 has one hierarchy, which is 0 (cgroups(7), /proc/PID/cgroup).
	groups, err := os.ReadFile(filepath.Join(root, "proc/self/cgroup"))
	if err != nil {
		return left, nil // a kernel without control groups limits nothing
	}
	for line := range strings.Lines(string(groups)) {
		if path, ok := strings.CutPrefix(strings.TrimSpace(line), "0::/"); ok {
			left = min(left, groupsLeave(filepath.Join(root, "sys/fs/cgroup"), path))
		}
	}
	return left, nil
}

// groupsLeave returns what a control group and those above it leave. What a file system's cache
// uses does not count: the kernel takes it back. See Documentation/admin-guide/cgroup-v2.rst.
func groupsLeave(top, path string) vm.Size {
	left := vm.Size(math.MaxInt64)
	for path = filepath.Clean("/" + path); ; path = filepath.Dir(path) {
		read := func(name string) string {
			text, _ := os.ReadFile(filepath.Join(top, path, name))
			return string(text)
		}
		limit, limited := number(read("memory.max")) // or "max"
		used, known := number(read("memory.current"))
		if limited && known {
			cache, _ := counter(read("memory.stat"), "inactive_file")
			left = min(left, max(0, limit-used+cache))
		}
		if path == "/" {
			return left
		}
	}
}

// counter returns the number after the word that begins a line.
func counter(text, word string) (vm.Size, bool) {
	for line := range strings.Lines(text) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == word {
			return number(fields[1])
		}
	}
	return 0, false
}

func number(text string) (vm.Size, bool) {
	n, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
	return vm.Size(n), err == nil
}
