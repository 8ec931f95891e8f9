// Package proc identifies processes beyond doubt and watches them by pidfd.
//
// A PID alone says nothing: the kernel gives it to another process as soon as its
// owner is reaped. An [ID] adds the start time and the boot, and a [Handle] holds the
// process itself, so that a signal can't reach a successor.
package proc

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
)

// ErrGone says that a process has ended (a zombie counts as ended), or that what has
// its PID now is another process.
var ErrGone = errors.New("process is gone")

// ID identifies one process among all that ever ran on a machine.
type ID struct {
	PID       int
	StartTime uint64 // clock ticks since boot: /proc/PID/stat, field 22 (proc(5))
	BootID    string // /proc/sys/kernel/random/boot_id
}

// Self returns the ID of the calling process.
func Self() (ID, error) { return Of(os.Getpid()) }

// Of returns the ID of the process that has pid now. Its error wraps ErrGone when no
// live process has it.
func Of(pid int) (ID, error) {
	st, err := readStat(pid)
	if err != nil {
		return ID{}, err
	}
	if st.dead() {
		return ID{}, fmt.Errorf("process %d: %w", pid, ErrGone)
	}
	boot, err := BootID()
	if err != nil {
		return ID{}, err
	}
	return ID{PID: pid, StartTime: st.start, BootID: boot}, nil
}

// Alive reports whether exactly that process still runs. A zombie does not. One that can't be
// looked at, because this process has no descriptor left, counts as alive: what belongs to
// the dead is taken away.
func Alive(id ID) bool { return !errors.Is(check(id), ErrGone) }

// BootID returns the random identifier of this boot of the machine.
func BootID() (string, error) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("read boot id: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}

// Args returns the command line of the process that has pid now. A process can have
// rewritten its own. A kernel thread or zombie has none, and
// for a moment neither has one that is just being executed.
func Args(pid int) ([]string, error) {
	b, err := os.ReadFile(procPath(pid, "cmdline"))
	if err != nil {
		return nil, gone(pid, err)
	}
	if len(b) == 0 {
		return nil, nil
	}
	return strings.Split(strings.TrimSuffix(string(b), "\x00"), "\x00"), nil
}

// check returns nil when id's process runs, an error that wraps ErrGone when not.
func check(id ID) error {
	now, err := Of(id.PID)
	if err != nil {
		return err
	}
	if now != id {
		return fmt.Errorf("PID %d belongs to another process now: %w", id.PID, ErrGone)
	}
	return nil
}

// stat is the part of /proc/PID/stat that identity needs.
type stat struct {
	state byte // field 3
	start uint64
}

func (s stat) dead() bool { return s.state == 'Z' || s.state == 'X' || s.state == 'x' }

func readStat(pid int) (stat, error) {
	if pid <= 0 {
		return stat{}, fmt.Errorf("process %d: %w", pid, ErrGone)
	}
	b, err := os.ReadFile(procPath(pid, "stat"))
	if err != nil {
		return stat{}, gone(pid, err)
	}
	st, err := parseStat(b)
	if err != nil {
		return stat{}, fmt.Errorf("process %d: %w", pid, err)
	}
	return st, nil
}

// parseStat reads the fields behind the program's name, which stands in parentheses
// and may hold blanks and parentheses itself: the last one ends it.
func parseStat(b []byte) (stat, error) {
	const state, startTime = 3, 22
	end := bytes.LastIndexByte(b, ')')
	if end < 0 {
		return stat{}, errors.New("stat has no program name")
	}
	fields := strings.Fields(string(b[end+1:]))
	if len(fields) <= startTime-state {
		return stat{}, fmt.Errorf("stat has %d fields behind the name", len(fields))
	}
	start, err := strconv.ParseUint(fields[startTime-state], 10, 64)
	if err != nil {
		return stat{}, fmt.Errorf("start time: %w", err)
	}
	return stat{state: fields[0][0], start: start}, nil
}

func procPath(pid int, name string) string {
	return "/proc/" + strconv.Itoa(pid) + "/" + name
}

// gone turns the errors that reading /proc gives for an ended process into ErrGone.
func gone(pid int, err error) error {
	if errors.Is(err, fs.ErrNotExist) || isNoProcess(err) {
		return fmt.Errorf("process %d: %w", pid, ErrGone)
	}
	return err
}
