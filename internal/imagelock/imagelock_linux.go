package imagelock

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	held     = 100 // + permission: somebody has it
	unshared = 200 // + permission: somebody does not let others have it

	consistentRead = 0
	write          = 1
	resize         = 3
)

// open opens an image for a look at its locks: with O_NONBLOCK, which keeps a FIFO from
// hanging it.
func open(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
}

// Of returns what others do with the image at path. An image that can't be opened, or is
// on a file system without such locks, looks unused.
func Of(path string) Use {
	f, err := open(path)
	if err != nil {
		return None
	}
	defer f.Close()
	switch {
	case locked(f, held+write, 1), locked(f, held+resize, 1), locked(f, unshared+consistentRead, 1):
		return Writing
	case locked(f, unshared+write, 1), locked(f, unshared+resize, 1):
		return Reading
	}
	return None
}

// Open reports whether any QEMU program has the image open.
func Open(path string) bool {
	f, err := open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	return locked(f, held, 2*(unshared-held))
}

// locked reports whether somebody holds a lock within n bytes from start.
func locked(f *os.File, start, n int64) bool {
	lock := unix.Flock_t{Type: unix.F_WRLCK, Start: start, Len: n}
	return unix.FcntlFlock(f.Fd(), unix.F_OFD_GETLK, &lock) == nil && lock.Type != unix.F_UNLCK
}

// Holders returns who has locks on the image, as far as this user can see it: such locks
// belong to open files, so that the kernel does not name a process, and every process's
// files have to be looked at (proc(5), /proc/PID/fdinfo).
func Holders(path string) []Holder {
	var want unix.Stat_t
	if unix.Stat(path, &want) != nil {
		return nil
	}
	dirs, err := filepath.Glob("/proc/[0-9]*/fd")
	if err != nil {
		return nil
	}
	var out []Holder
	for _, dir := range dirs {
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(dir)))
		if err == nil && holds(dir, want) {
			out = append(out, Holder{PID: pid, Program: program(pid)})
		}
	}
	slices.SortFunc(out, func(a, b Holder) int { return a.PID - b.PID })
	return out
}

// holds reports whether the process whose descriptors are in dir has a lock on the file.
func holds(dir string, want unix.Stat_t) bool {
	entries, err := os.ReadDir(dir)
	if err != nil { // another user's, or gone
		return false
	}
	for _, e := range entries {
		var st unix.Stat_t
		if unix.Stat(filepath.Join(dir, e.Name()), &st) != nil || st.Dev != want.Dev || st.Ino != want.Ino || st.Rdev != want.Rdev {
			continue
		}
		info, err := os.ReadFile(filepath.Join(dir+"info", e.Name()))
		if err == nil && strings.Contains(string(info), "\nlock:") {
			return true
		}
	}
	return false
}

func program(pid int) string {
	name, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "comm"))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(name))
}
