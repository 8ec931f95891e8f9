//go:build linux

package libvirttest

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// Kill kills libvirtd with SIGKILL and returns when it has ended. Its guests run on, and clients
// are turned away, until [Daemon.Restart], which the end of tb brings at the latest.
func (d *Daemon) Kill(tb testing.TB) {
	tb.Helper()
	libvirtd := d.Libvirtd(tb)
	must(tb, unix.Mkfifo(d.fifo(), 0o600))
	// It keeps listening: who comes by its name finds nothing.
	must(tb, os.Rename(d.Socket(), d.hidden()))
	tb.Cleanup(func() { d.Restart(tb) })
	must(tb, libvirtd.Signal(unix.SIGKILL))
	must(tb, libvirtd.Wait(tb.Context()))
}

// Restart starts libvirtd again after a [Daemon.Kill], in the same place, and returns when it
// answers. One that was not killed is left alone.
func (d *Daemon) Restart(tb testing.TB) {
	tb.Helper()
	if _, err := os.Lstat(d.hidden()); err != nil {
		return
	}
	waiting, err := os.OpenFile(d.fifo(), os.O_WRONLY, 0) // returns when daemon.sh waits for it
	must(tb, err)
	must(tb, waiting.Close())
	must(tb, os.Rename(d.hidden(), d.Socket()))
	must(tb, d.ready())
}

// Hide turns new clients away, while those that are connected are served on, until
// [Daemon.Show], which the end of tb brings at the latest.
func (d *Daemon) Hide(tb testing.TB) {
	tb.Helper()
	must(tb, os.Rename(d.Socket(), d.hidden()))
	tb.Cleanup(func() { d.Show(tb) })
}

// Show ends a [Daemon.Hide].
func (d *Daemon) Show(tb testing.TB) {
	tb.Helper()
	if _, err := os.Lstat(d.hidden()); err == nil {
		must(tb, os.Rename(d.hidden(), d.Socket()))
	}
}

// Freeze stops libvirtd with SIGSTOP: it takes connections, and answers nobody, until
// [Daemon.Thaw], which the end of tb brings at the latest.
func (d *Daemon) Freeze(tb testing.TB) {
	tb.Helper()
	tb.Cleanup(func() { d.Thaw(tb) })
	must(tb, d.Libvirtd(tb).Signal(unix.SIGSTOP))
}

// Thaw ends a [Daemon.Freeze].
func (d *Daemon) Thaw(tb testing.TB) {
	tb.Helper()
	must(tb, d.Libvirtd(tb).Signal(unix.SIGCONT))
}

func (d *Daemon) fifo() string   { return filepath.Join(string(d.tree), "restart") }
func (d *Daemon) hidden() string { return d.Socket() + ".hidden" }

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}
