package maqettest

import (
	"io/fs"

	"github.com/maqet/maqet/guest"
)

// Run runs a program in the guest, without a shell, and returns what it printed. The test
// fails at once when the program can't be run or its exit code is not zero; Machine's Exec
// returns that as an error.
func (g *Guest) Run(args ...string) guest.Result {
	g.tb.Helper()
	ctx, cancel := g.bounded()
	defer cancel()
	res, err := g.Exec(ctx, args...)
	g.check(err)
	return res
}

// Copy copies a file or a folder tree of the host into the guest, as guest.Manager.CopyTo does.
// The test fails when that is not possible.
func (g *Guest) Copy(hostPath, guestPath string) {
	g.tb.Helper()
	ctx, cancel := g.bounded()
	defer cancel()
	g.check(g.CopyTo(ctx, hostPath, guestPath))
}

// CopyFrom copies a file or a folder tree of the guest to the host, as guest.Manager.CopyFrom
// does. The test fails when that is not possible.
func (g *Guest) CopyFrom(guestPath, hostPath string) {
	g.tb.Helper()
	ctx, cancel := g.bounded()
	defer cancel()
	g.check(g.Machine.CopyFrom(ctx, guestPath, hostPath))
}

// WriteFile makes or replaces a file in the guest, whose permissions are then perm. Its folder
// must exist. The test fails when that is not possible.
func (g *Guest) WriteFile(path string, data []byte, perm fs.FileMode) {
	g.tb.Helper()
	ctx, cancel := g.bounded()
	defer cancel()
	g.check(g.Machine.WriteFile(ctx, path, data, perm))
}

// ReadFile returns what a file in the guest has. The test fails when it can't be read.
func (g *Guest) ReadFile(path string) []byte {
	g.tb.Helper()
	ctx, cancel := g.bounded()
	defer cancel()
	data, err := g.Machine.ReadFile(ctx, path)
	g.check(err)
	return data
}
