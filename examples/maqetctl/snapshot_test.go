package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/snapshot"
	"github.com/maqet/maqet/vm"
)

func TestSnapshotLine(t *testing.T) {
	for want, s := range map[string]snapshot.Snapshot{
		"a  memory, 5s ago, 1.5 MiB":                 {Name: "a", Kind: snapshot.Memory, Status: snapshot.OK, Size: 3 << 19},
		"a *  internal, 5s ago: for the test":        {Name: "a", Current: true, Kind: snapshot.Internal, Status: snapshot.OK, Description: "for the test"},
		"a?  internal, 5s ago, partial, not on data": {Name: "a\x1b", Kind: snapshot.Internal, Status: snapshot.Partial, Disks: []snapshot.Disk{{Name: "root", Present: true}, {Name: "data"}}},
	} {
		s.Created = time.Now().Add(-5 * time.Second)
		require.Equal(t, want, snapshotLine(s))
	}
}

// TestSnapshots makes snapshots and backups of a VM, live and not, each step by a process of
// its own.
func TestSnapshots(t *testing.T) {
	c := newTool(t)
	write := func(text string) {
		t.Helper()
		c.run("exec", "web", "--", "sh", "-c", "echo "+text+" > /tmp/file; echo "+text+" | dd of=/dev/vda conv=fsync 2>/dev/null").ok(t)
	}
	read := func() string {
		t.Helper()
		return strings.Join(strings.Fields(c.run("exec", "web", "--", "sh", "-c", "cat /tmp/file; head -n 1 /dev/vda").ok(t)), " ")
	}
	c.run("add", "--name", "web", "--disk", "16M").ok(t)
	require.Equal(t, "there are no snapshots of web\n", c.run("snapshot", "ls", "web").ok(t))
	require.Equal(t, "[]\n", c.run("snapshot", "ls", "web", "--json").ok(t))
	refused := failureOf(t, c.run("snapshot", "create", "web", "early", "--json").failed(t, exitState))
	require.Equal(t, "SnapshotBlocked", refused.Kind)
	require.Equal(t, parsed[[]snapshot.Blocker](t, c.run("snapshot", "blockers", "web", "--json").ok(t)), refused.Blockers)
	require.Contains(t, c.run("snapshot", "blockers", "web").ok(t), "disk0 has no image yet\n  -> start the VM once")

	c.run("start", "web").ok(t)
	require.Equal(t, "nothing stands in the way\n", c.run("snapshot", "blockers", "web").ok(t))
	write("one")
	made := parsed[snapshot.Snapshot](t, c.run("snapshot", "create", "web", "first one", "--description", "for the test", "--json").ok(t))
	require.Equal(t, []any{"first one", snapshot.OK, true, true}, []any{made.Name, made.Status, made.Memory, made.Current})
	c.run("snapshot", "create", "web", "first one").failed(t, exitExists)
	write("two")
	c.run("snapshot", "create", "web", "second", "--paused").ok(t)
	require.Equal(t, vm.Paused, parsed[[]vmStatus](t, c.run("status", "web", "--json").ok(t))[0].State)
	require.Regexp(t, `^└─ first one  memory, \d+s ago, [0-9.]+ MiB: for the test
   └─ second \*  memory, \d+s ago, [0-9.]+ MiB
$`, c.run("snapshot", "ls", "web").ok(t))
	c.run("snapshot", "load", "web", "first one").failed(t, exitDenied)
	require.Equal(t, "web: loaded first one, the VM is running\n", c.run("snapshot", "load", "web", "first one", "--running", "--yes").ok(t))
	require.Equal(t, "one one", read())
	c.run("snapshot", "load", "web", "none", "--yes").failed(t, exitNotFound)
	c.run("snapshot", "rm", "web", "first one", "second", "--yes").ok(t)

	dir := filepath.Join(t.TempDir(), "backups")
	require.Equal(t, 1, parsed[snapshot.Backup](t, c.run("backup", "create", "web", dir, "--json").ok(t)).Number)
	write("three")
	require.Regexp(t, `2 +\d+s +web +disk0 +changes`, c.run("backup", "create", "web", dir).ok(t))
	require.Len(t, parsed[[]snapshot.Backup](t, c.run("backup", "ls", dir, "--json").ok(t)), 2)
	require.Contains(t, c.run("backup", "verify", dir).ok(t), "sound")
	target := filepath.Join(t.TempDir(), "restored")
	paths := parsed[map[string]string](t, c.run("backup", "restore", dir, target, "--number", "1", "--format", "raw", "--json").ok(t))
	data, err := os.ReadFile(paths["disk0"])
	require.NoError(t, err)
	require.Equal(t, "one\n", string(data[:4]))
	c.run("backup", "ls", target).failed(t, exitNotFound)

	c.run("snapshot", "create", "web", "disk", "--disk-only").ok(t)
	write("four")
	require.Contains(t, c.run("snapshot", "commit", "web", "disk").ok(t), "committed")
	c.run("stop", "web").ok(t)
	c.run("snapshot", "create", "web", "cold").ok(t)
	c.run("start", "web").ok(t)
	require.Contains(t, c.run("exec", "web", "--", "head", "-n", "1", "/dev/vda").ok(t), "four")
	c.run("stop", "web", "--force", "--yes").ok(t)
	require.Contains(t, c.run("snapshot", "load", "web", "cold", "--yes").ok(t), "the VM is stopped")
	c.run("rm", "web", "--images", "--yes").ok(t)
	c.requireNothingLeft()
}
