package snapshots_test

import (
	"encoding/json"
	"os/exec"
	"path/filepath"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/storage"
)

// checked is what "qemu-img check" finds.
type checked struct {
	Leaks       int
	Corruptions int
	CheckErrors int `json:"check-errors"`
}

func (p *patient) check(path string) (c checked) {
	p.t.Helper()
	out, _ := exec.Command("qemu-img", "check", "--output=json", "-f", "qcow2", path).Output() // fails with what it finds
	require.NoError(p.t, json.Unmarshal(out, &c), "%s", out)
	return c
}

// requireClean checks the images of a VM that is not live: QEMU finds nothing wrong with
// them, each is registered, and each that is registered is there.
func (p *patient) requireClean() {
	p.t.Helper()
	for _, path := range p.images() {
		require.Equal(p.t, checked{}, p.check(path), path)
	}
	p.requireRegistered()
}

// gapLeaks is how many clusters may leak without any interruption in a create and a load, which
// makes a snapshot to go back to: QEMU 7.2 can leak one with each snapshot that it makes in
// an image with a gap among its last clusters, such as a repair leaves.
const gapLeaks = 2

// requireSound is requireClean after snapshots that nobody interrupted, in an image that had
// been repaired. What has leaked can be freed.
func (p *patient) requireSound() {
	p.t.Helper()
	for _, path := range p.images() {
		found := p.check(path)
		require.LessOrEqual(p.t, found.Leaks, gapLeaks, path)
		require.Equal(p.t, checked{Leaks: found.Leaks}, found, path)
		if found.Leaks > 0 {
			p.t.Logf("%d clusters leaked without an interruption", found.Leaks)
			require.NoError(p.t, p.m.Storage.Repair(p.ctx(), path))
		}
	}
	p.requireClean()
}

// requireRegistered compares the files that are there with those that are registered.
func (p *patient) requireRegistered() {
	p.t.Helper()
	files, err := p.m.Storage.Files(p.ctx(), storage.FileFilter{})
	require.NoError(p.t, err)
	var registered []string
	for _, f := range files {
		registered = append(registered, f.Path)
	}
	require.ElementsMatch(p.t, p.images()[1:], registered)
	run, err := filepath.Glob(filepath.Join(p.dir, "run", "*"))
	require.NoError(p.t, err)
	require.Empty(p.t, run, "sockets left")
}
