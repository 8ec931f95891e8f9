package main

import (
	"bufio"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
)

// Requests of ioctl(2), from linux/fs.h: FIFREEZE and FITHAW.
const (
	fiFreeze = 0xC0045877
	fiThaw   = 0xC0045878
)

// freezer freezes file systems for as long as the host makes a snapshot of their disks.
type freezer struct {
	mu     sync.Mutex
	frozen bool
	mounts []string // that are frozen
}

// freeze flushes and freezes all file systems on block devices, the one mounted last first:
// it may lie in a file of another. It returns how many are frozen; if one fails, none is.
func (f *freezer) freeze() (any, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.frozen {
		return nil, errGeneric("the file systems are frozen already")
	}
	mounts, err := blockMounts()
	if err != nil {
		return nil, err
	}
	for _, dir := range slices.Backward(mounts) {
		switch err := onMount(dir, fiFreeze); err {
		case nil:
			f.mounts = append(f.mounts, dir)
		case syscall.EOPNOTSUPP, syscall.EBUSY: // it can't be, or somebody else has frozen it
		default:
			f.release()
			return nil, errGeneric("freeze " + dir + ": " + err.Error())
		}
	}
	f.frozen = true
	return len(f.mounts), nil
}

// thaw undoes freeze, and returns how many file systems it thawed.
func (f *freezer) thaw() (any, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.release(), nil
}

func (f *freezer) release() (thawed int) {
	for _, dir := range slices.Backward(f.mounts) {
		if onMount(dir, fiThaw) == nil {
			thawed++
		}
	}
	f.frozen, f.mounts = false, nil
	return thawed
}

func (f *freezer) status() (any, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.frozen {
		return "frozen", nil
	}
	return "thawed", nil
}

// onMount makes an ioctl on a mount point.
func onMount(dir string, request uintptr) error {
	fd, err := syscall.Open(dir, syscall.O_RDONLY|syscall.O_CLOEXEC|syscall.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer syscall.Close(fd)
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, uintptr(fd), request, 0); errno != 0 {
		return errno
	}
	return nil
}

// blockMounts returns a mount point of each file system that is on a block device, in the
// order in which they were mounted.
func blockMounts() ([]string, error) {
	file, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return parseMounts(file, func(device string) bool {
		_, err := os.Stat("/sys/dev/block/" + device)
		return err == nil
	})
}

// parseMounts reads a mountinfo (proc(5)).
func parseMounts(r io.Reader, isBlock func(device string) bool) (dirs []string, err error) {
	seen := map[string]bool{}
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 5 || seen[fields[2]] || !isBlock(fields[2]) {
			continue
		}
		seen[fields[2]] = true
		dirs = append(dirs, unescapeMount(fields[4]))
	}
	return dirs, lines.Err()
}
