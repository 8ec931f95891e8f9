//go:build linux

package libvirttest

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/digitalocean/go-libvirt"

	"github.com/maqet/maqet/internal/proc"
)

// Process returns the QEMU process of a domain that runs. It is held until tb ends.
func (d *Daemon) Process(tb testing.TB, domain string) *proc.Handle {
	tb.Helper()
	return d.hold(tb, d.pidFile(domain))
}

// Libvirtd returns the process of libvirtd itself. It is held until tb ends. When it
// ends, so do the guests.
func (d *Daemon) Libvirtd(tb testing.TB) *proc.Handle {
	tb.Helper()
	return d.hold(tb, filepath.Join(string(d.tree), "run/libvirtd.pid"))
}

func (d *Daemon) hold(tb testing.TB, pidFile string) *proc.Handle {
	tb.Helper()
	h, err := d.process(pidFile)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = h.Close() })
	return h
}

// guests returns all QEMU processes of the daemon. An error concerns the others.
func (d *Daemon) guests() (guests []*proc.Handle, err error) {
	files, _ := filepath.Glob(d.pidFile("*")) // the pattern is right
	for _, file := range files {
		h, openErr := d.process(file)
		switch {
		case openErr == nil:
			guests = append(guests, h)
		case !errors.Is(openErr, proc.ErrGone) && !errors.Is(openErr, fs.ErrNotExist):
			err = errors.Join(err, openErr)
		}
	}
	return guests, err
}

// pidFile is where libvirt puts the PID of a domain's QEMU.
func (d *Daemon) pidFile(domain string) string {
	name := "run/libvirt/qemu/" + domain + ".pid"
	if d.driver == libvirt.QEMUSession {
		name = "run/libvirt/qemu/run/" + domain + ".pid"
	}
	return filepath.Join(string(d.tree), name)
}

// process opens the process that a PID file means.
func (d *Daemon) process(file string) (*proc.Handle, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	pid, err := d.outerPID(strings.TrimSpace(string(text)))
	if err != nil {
		return nil, err
	}
	id, err := proc.Of(pid)
	if err != nil {
		return nil, err
	}
	return proc.Open(id)
}

// outerPID finds the process that has a PID in the daemon's PID namespace, which can be
// the caller's own.
func (d *Daemon) outerPID(inner string) (int, error) {
	namespace, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", d.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	all, err := os.ReadDir("/proc")
	if err != nil {
		return 0, err
	}
	for _, entry := range all {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		dir := "/proc/" + entry.Name()
		if its, err := os.Readlink(dir + "/ns/pid"); err == nil && its == namespace && innerPID(dir) == inner {
			return pid, nil
		}
	}
	return 0, fmt.Errorf("process %s of the daemon: %w", inner, proc.ErrGone)
}

// innerPID returns the PID that a process has in its own namespace: the last one of
// the line NSpid in its status (proc(5)).
func innerPID(dir string) string {
	status, err := os.ReadFile(dir + "/status")
	if err != nil {
		return "" // it has ended
	}
	for line := range strings.Lines(string(status)) {
		if pids, ok := strings.CutPrefix(line, "NSpid:"); ok {
			fields := strings.Fields(pids)
			return fields[len(fields)-1]
		}
	}
	return ""
}
