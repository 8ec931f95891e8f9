package snapshots_test

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/maqet/maqet/internal/testhost"
)

// room is how much is left in the file system of the images that maqet makes, in KiB. What
// the user brought lies elsewhere: one disk fails, the other one does not.
var room = []int{0, 64, 192, 512, 2048}

// TestFullDisk does every operation where the images have no room, or soon have none. It is
// done, or fails and has done nothing; and all goes on when there is room again.
func TestFullDisk(t *testing.T) {
	for _, name := range slices.Sorted(maps.Keys(operations)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			op := operations[name]
			tp := newTemplate(t, op.from)
			for i, left := range room {
				if !long() && i%2 != len(name)%2 {
					continue
				}
				t.Run(fmt.Sprintf("%d KiB", left), func(t *testing.T) { op.checkFull(t, tp, name, i, left) })
			}
		})
	}
}

func (op operation) checkFull(t *testing.T, tp *template, name string, nth, left int) {
	tp.reset(t)
	images := filepath.Join(tp.dir, "images")
	require.NoError(t, os.RemoveAll(images))
	require.NoError(t, os.Mkdir(images, 0o700))
	testhost.Needs(t, "mounting a small tmpfs", unix.Mount("tmpfs", images, "tmpfs", 0, "size=64m,mode=0700"))
	defer func() { require.NoError(t, unix.Unmount(images, unix.MNT_DETACH)) }()
	cp(t, filepath.Join(tp.saved(), "images")+"/.", images)
	var fs syscall.Statfs_t
	require.NoError(t, syscall.Statfs(images, &fs))
	used := (fs.Blocks - fs.Bfree) * uint64(fs.Bsize)
	resize := func(bytes uint64) {
		require.NoError(t, unix.Mount("tmpfs", images, "tmpfs", unix.MS_REMOUNT, fmt.Sprintf("size=%d", bytes)))
	}
	resize(used + uint64(left)<<10)

	rep, _, lived := fault{Op: name, Dir: tp.dir}.run(t)
	require.True(t, lived)
	possible := []state{op.after}
	if rep.Err != "" {
		t.Logf("it said: %s", rep.Err)
		require.True(t, slices.Contains(rep.Kinds, op.kind) || slices.Contains(rep.Kinds, "blocked"), "%s", rep.Err)
		possible = []state{before}
		if op.kind != "creation" {
			possible = append(possible, op.after)
		}
	}
	resize(64 << 20)
	p := openVictim(t, tp.dir)
	defer p.close()
	if rep.Err != "" && op.live && op.kind == "creation" {
		require.True(t, p.live(), "the guest goes on")
	}
	p.requireOneOf(op, nth, possible...)
}
