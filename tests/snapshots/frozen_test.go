package snapshots_test

import (
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/internal/testhost"
	"github.com/maqet/maqet/vm"
)

// TestFrozen has the process that uses maqet die while it has a guest's file systems frozen,
// before and after the guest was given its overlays. The next operation thaws them: the guest's
// programs write again, and what they had written is there.
func TestFrozen(t *testing.T) {
	dir := shortDir(t)
	p := openVictim(t, dir)
	cfg := vm.Config{Name: victim, Lifetime: vm.Persistent, Memory: 128 * vm.MiB, Boot: vm.Boot{Kernel: "auto"},
		Disks: []vm.Disk{{Name: "files", Path: fileSystem(t, dir)}}}
	_, err := p.m.Run(t.Context(), cfg)
	require.NoError(t, err)
	defer func() {
		p.stop()
		require.NoError(t, p.m.VM.Remove(t.Context(), victim, vm.DeleteImages()))
		p.close()
	}()
	p.sh("mkdir -p /mnt && mount -t ext4 /dev/vda /mnt")
	for _, c := range []struct {
		step string
		left []string
	}{
		{"switch", nil},
		{"thaw", []string{subject}},
	} {
		t.Run(c.step, func(t *testing.T) {
			p := p.on(t)
			p.sh("echo $1 >/mnt/before", c.step)
			_, _, lived := fault{Op: "create external", Dir: dir, Kind: killSelf, Step: c.step, Nth: 1, Untraced: true}.run(t)
			require.False(t, lived)
			require.Equal(t, "frozen", p.frozen())

			require.ErrorIs(t, p.m.Snapshot.Delete(t.Context(), victim, "none"), errors.ErrSnapshotNotFound)
			require.Equal(t, "thawed", p.frozen())
			require.Equal(t, c.step, p.sh("echo new >/mnt/after && sync && cat /mnt/before"))
			require.Equal(t, c.left, slices.Collect(maps.Keys(p.list())))
		})
	}
	require.NoError(t, p.m.Snapshot.Delete(t.Context(), victim, subject))
	require.Equal(t, "thaw\nnew", p.sh("echo 3 >/proc/sys/vm/drop_caches; cat /mnt/before /mnt/after"))
}

// fileSystem makes an image with an empty file system.
func fileSystem(t *testing.T, dir string) string {
	t.Helper()
	raw := filepath.Join(dir, "files.raw")
	require.NoError(t, os.WriteFile(raw, nil, 0o600))
	require.NoError(t, os.Truncate(raw, 32<<20))
	_, err := exec.LookPath("mkfs.ext4")
	testhost.Needs(t, "mkfs.ext4 (e2fsprogs)", err)
	out, err := exec.Command("mkfs.ext4", "-q", "-F", raw).CombinedOutput()
	require.NoError(t, err, "%s", out)
	return raw
}

// frozen returns what the guest's agent says of its file systems.
func (p *patient) frozen() (status string) {
	p.t.Helper()
	reply, err := p.m.Guest.Agent(p.ctx(), victim, "guest-fsfreeze-status", nil)
	require.NoError(p.t, err)
	require.NoError(p.t, json.Unmarshal(reply, &status))
	return status
}
