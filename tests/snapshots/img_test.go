package snapshots_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/maqet/maqet/errors"
)

// imgEnv is the folder where runs of qemu-img are noted, for roleImg.
const imgEnv = "MAQET_TEST_IMG"

// imgRun is one run of qemu-img: how often it was about to change a file.
type imgRun struct {
	Args   []string
	Writes int
}

// imgFault is the run of qemu-img, and the change in it, at which something dies. Both count
// from 1; a Write of 0 is before the program has done anything.
type imgFault struct{ Run, Write int }

// tracedImg runs qemu-img as a debugger does, stops it before each system call by which it
// changes a file, and has it, or who runs it, die there if that is asked for.
func tracedImg() error {
	dir := os.Getenv(imgEnv)
	number, err := nextRun(dir)
	if err != nil {
		return err
	}
	f, err := faultFromEnv()
	if err != nil {
		return err
	}
	t := imgTracer{parent: os.Getppid()}
	if (f.Kind == killImg || f.Kind == killSelfInImg) && f.Img.Run == number {
		t.fault, t.write = f.Kind, f.Img.Write
	}
	status, err := t.run(os.Args[1:])
	if err != nil {
		return err
	}
	data, err := json.Marshal(imgRun{Args: os.Args[1:], Writes: t.writes})
	if err != nil {
		return err
	}
	if err := os.WriteFile(runFile(dir, number), data, 0o600); err != nil {
		return err
	}
	if status.Signaled() {
		return syscall.Kill(os.Getpid(), status.Signal())
	}
	os.Exit(status.ExitStatus())
	return nil
}

func runFile(dir string, number int) string {
	return filepath.Join(dir, fmt.Sprintf("run-%04d", number))
}

// nextRun returns the number of this run, and notes that it was taken.
func nextRun(dir string) (int, error) {
	for n := 1; ; n++ {
		f, err := os.OpenFile(runFile(dir, n), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if err == nil {
			return n, f.Close()
		}
		if !errors.Is(err, os.ErrExist) {
			return 0, err
		}
	}
}

// imgRuns reads what was noted.
func imgRuns(dir string) (runs []imgRun, err error) {
	paths, err := filepath.Glob(filepath.Join(dir, "run-*"))
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		var run imgRun
		if len(data) > 0 { // else it was not left to end
			if err := json.Unmarshal(data, &run); err != nil {
				return nil, err
			}
		}
		runs = append(runs, run)
	}
	return runs, err
}

// imgTracer traces one qemu-img.
type imgTracer struct {
	parent int    // who runs it
	fault  string // what dies; empty: nothing
	write  int    // at which change
	writes int    // so far
}

func (t *imgTracer) run(args []string) (status syscall.WaitStatus, err error) {
	runtime.LockOSThread() // who traces is a thread
	cmd := exec.Command("qemu-img", args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Ptrace: true}
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	pid := cmd.Process.Pid
	if _, err := syscall.Wait4(pid, &status, 0, nil); err != nil {
		return 0, err
	}
	// qemu-img dies with its tracer, as it would by the "parent death signal" that the tracer has.
	options := unix.PTRACE_O_EXITKILL | unix.PTRACE_O_TRACESYSGOOD | unix.PTRACE_O_TRACECLONE | unix.PTRACE_O_TRACEFORK | unix.PTRACE_O_TRACEVFORK
	if err := syscall.PtraceSetOptions(pid, options); err != nil {
		return 0, err
	}
	if t.write == 0 {
		t.die(pid)
	}
	if err := syscall.PtraceSyscall(pid, 0); err != nil && !errors.Is(err, syscall.ESRCH) {
		return 0, err
	}
	return t.loop(pid)
}

// loop goes on until the program has ended.
func (t *imgTracer) loop(pid int) (status syscall.WaitStatus, err error) {
	for {
		tid, err := syscall.Wait4(-1, &status, syscall.WALL, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
			continue
		case err != nil:
			return 0, err
		case status.Exited() || status.Signaled():
			if tid == pid {
				return status, nil
			}
			continue
		}
		deliver := 0
		switch signal := status.StopSignal(); {
		case signal == syscall.SIGTRAP|0x80: // a system call begins or ends
			if isWrite(tid) {
				if t.writes++; t.writes == t.write {
					t.die(pid)
				}
			}
		case signal != syscall.SIGTRAP && signal != syscall.SIGSTOP:
			deliver = int(signal)
		}
		if err := syscall.PtraceSyscall(tid, deliver); err != nil && !errors.Is(err, syscall.ESRCH) {
			return 0, err
		}
	}
}

// die has die what is to.
func (t *imgTracer) die(pid int) {
	switch t.fault {
	case killImg:
		_ = syscall.Kill(pid, syscall.SIGKILL)
	case killSelfInImg:
		_ = syscall.Kill(t.parent, syscall.SIGKILL)
	}
}

// syscallInfo is struct ptrace_syscall_info of <linux/ptrace.h> at the begin of a system call.
type syscallInfo struct {
	op       uint8 // 1: begin
	_        [3]uint8
	arch     uint32
	ip, sp   uint64
	number   uint64
	args     [6]uint64
	reserved [4]uint64
}

// isWrite reports whether a stopped thread is about to change a file by a system call.
func isWrite(tid int) bool {
	var info syscallInfo
	_, _, errno := syscall.Syscall6(syscall.SYS_PTRACE, unix.PTRACE_GET_SYSCALL_INFO, uintptr(tid), unsafe.Sizeof(info),
		uintptr(unsafe.Pointer(&info)), 0, 0) //nolint:gosec // ptrace(2) fills it in
	if errno != 0 || info.op != 1 {
		return false
	}
	switch info.number {
	case unix.SYS_PWRITE64, unix.SYS_PWRITEV, unix.SYS_FTRUNCATE, unix.SYS_FALLOCATE, unix.SYS_FDATASYNC:
		return true
	}
	return false
}

// String names the run by what qemu-img was asked to do.
func (r imgRun) String() string { return strings.Join(r.Args[:min(2, len(r.Args))], " ") }
