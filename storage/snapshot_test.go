package storage_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/storage"
)

// fill writes a byte all over the first 64 KiB of an image.
func fill(t *testing.T, path string, pattern int) {
	t.Helper()
	qemuIO(t, "-f", "qcow2", "-c", fmt.Sprintf("write -q -P %d 0 64k", pattern), path)
}

// requireFilled reads it back.
func requireFilled(t *testing.T, path string, pattern int) {
	t.Helper()
	out := qemuIO(t, "-f", "qcow2", "-r", "-c", fmt.Sprintf("read -q -P %d 0 64k", pattern), path)
	require.Empty(t, out)
}

// requireClean checks an image as qemu-img does: no leak, nothing corrupt.
func requireClean(t *testing.T, path string) {
	t.Helper()
	var found struct{ Leaks, Corruptions, CheckErrors int }
	require.NoError(t, json.Unmarshal([]byte(qemuImg(t, "check", "--output=json", "-f", "qcow2", path)), &found))
	require.Zero(t, found)
}

func names(t *testing.T, m *storage.Manager, path string) (list []string) {
	t.Helper()
	snapshots, err := m.Snapshots(t.Context(), path)
	require.NoError(t, err)
	for _, s := range snapshots {
		list = append(list, s.Name)
	}
	return list
}

// longest are names as long as they can be.
var longest = []string{strings.Repeat("x", 255), strings.Repeat("ä", 127) + "x", strings.Repeat("😀", 63) + "xyz"}

// TestSnapshotNames: any name that is allowed is the snapshot's, to the last byte, and is no
// option, ID or something else for qemu-img.
func TestSnapshotNames(t *testing.T) {
	m, root := manage(t)
	path := newImage(t, m, filepath.Join(root, "disk"), mib)
	all := append([]string{"plain", "-d", "--help", "-", "a b", " ", "'", `"`, `\`, "a,b", "a=b", "1a", "-1", "1.0", "snapshot.id=1",
		"ä", "日本語", "$(reboot)", "%s", "/", "..", "list"}, longest...)
	for i, name := range all {
		fill(t, path, i+1)
		require.NoError(t, m.CreateSnapshot(t.Context(), path, name), name)
		require.Equal(t, []string{name}, names(t, m, path))
		fill(t, path, 200)
		require.NoError(t, m.LoadSnapshot(t.Context(), path, name), name)
		requireFilled(t, path, i+1)
		require.ErrorIs(t, m.CreateSnapshot(t.Context(), path, name), errors.ErrSnapshotExists)
		require.NoError(t, m.DeleteSnapshot(t.Context(), path, name), name)
		require.Empty(t, names(t, m, path))
		requireFilled(t, path, i+1)
	}
	requireClean(t, path)
}

// TestSnapshotNamesRefused: what QEMU would change or take for something else is refused before
// anything happens.
func TestSnapshotNamesRefused(t *testing.T) {
	m, root := manage(t)
	path := newImage(t, m, filepath.Join(root, "disk"), mib)
	for _, name := range []string{"", "1", "007", strings.Repeat("1", 255), strings.Repeat("x", 256), strings.Repeat("ä", 128),
		"a\nb", "a\x00b", "\x7f", "\u0085", "\xff", "a\xc3"} {
		require.ErrorIs(t, m.CreateSnapshot(t.Context(), path, name), errors.ErrInvalidConfiguration, "%q", name)
	}
	require.Empty(t, names(t, m, path))
}

// TestSnapshotNameLimit: QEMU itself cuts a name after 255 bytes, in the middle of a character if
// need be.
func TestSnapshotNameLimit(t *testing.T) {
	m, root := manage(t)
	path := newImage(t, m, filepath.Join(root, "disk"), mib)
	qemuImg(t, "snapshot", "-c", strings.Repeat("x", 256), path)
	qemuImg(t, "snapshot", "-c", strings.Repeat("ä", 128), path)
	require.Equal(t, []string{strings.Repeat("x", 255), strings.Repeat("ä", 127) + "\xc3"}, names(t, m, path))
}

// TestForeignSnapshots: others may have made snapshots whose names are numbers, which are never
// taken for the IDs of others, or several of one name, which is refused.
func TestForeignSnapshots(t *testing.T) {
	m, root := manage(t)
	path := newImage(t, m, filepath.Join(root, "disk"), mib)
	for i, name := range []string{"2", "1", "twin", "twin"} { // with the IDs 1, 2, 3, 4
		fill(t, path, i+1)
		qemuImg(t, "snapshot", "-c", name, path)
	}
	require.NoError(t, m.LoadSnapshot(t.Context(), path, "1"))
	requireFilled(t, path, 2)
	require.NoError(t, m.LoadSnapshot(t.Context(), path, "2"))
	requireFilled(t, path, 1)
	require.NoError(t, m.DeleteSnapshot(t.Context(), path, "1"))
	require.Equal(t, []string{"2", "twin", "twin"}, names(t, m, path))
	for _, err := range []error{m.LoadSnapshot(t.Context(), path, "twin"), m.DeleteSnapshot(t.Context(), path, "twin")} {
		var twins *storage.AmbiguousError
		require.ErrorAs(t, err, &twins)
		require.Equal(t, []string{"3", "4"}, twins.IDs)
	}
	require.ErrorIs(t, m.LoadSnapshot(t.Context(), path, "3"), errors.ErrSnapshotNotFound)
	require.ErrorIs(t, m.DeleteSnapshot(t.Context(), path, "3"), errors.ErrSnapshotNotFound)
}

// TestSnapshotPaths: no path is taken for an option or another protocol.
func TestSnapshotPaths(t *testing.T) {
	m, root := manage(t)
	for _, name := range oddNames {
		path := newImage(t, m, filepath.Join(root, name), mib)
		require.NoError(t, m.CreateSnapshot(t.Context(), path, "one"), name)
		require.Equal(t, []string{"one"}, names(t, m, path), name)
		require.NoError(t, m.LoadSnapshot(t.Context(), path, "one"), name)
		require.NoError(t, m.Repair(t.Context(), path), name)
		bitmaps, err := m.Bitmaps(t.Context(), path)
		require.NoError(t, err, name)
		require.Empty(t, bitmaps)
		require.NoError(t, m.DeleteSnapshot(t.Context(), path, "one"), name)
	}
}

// TestSnapshotResized: an image gets the size back that it had.
func TestSnapshotResized(t *testing.T) {
	m, root := manage(t)
	path := newImage(t, m, filepath.Join(root, "disk"), mib)
	fill(t, path, 1)
	require.NoError(t, m.CreateSnapshot(t.Context(), path, "small"))
	qemuImg(t, "resize", "-q", "-f", "qcow2", path, "4M")
	require.NoError(t, m.CreateSnapshot(t.Context(), path, "large"))
	for name, size := range map[string]int64{"small": mib, "large": 4 * mib} {
		require.NoError(t, m.LoadSnapshot(t.Context(), path, name))
		img, err := m.Inspect(t.Context(), path, storage.FormatQcow2)
		require.NoError(t, err)
		require.Equal(t, size, img.Size)
		requireFilled(t, path, 1)
	}
	requireClean(t, path)
}

// TestSnapshotInUse: an image that somebody uses is left alone, and who that is is named.
func TestSnapshotInUse(t *testing.T) {
	m, root := manage(t)
	path := newImage(t, m, filepath.Join(root, "disk"), mib)
	require.NoError(t, m.CreateSnapshot(t.Context(), path, "one"))
	user := exec.Command("qemu-io", "-f", "qcow2", path)
	stdin, err := user.StdinPipe()
	require.NoError(t, err)
	stdout, err := user.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, user.Start())
	_, err = stdout.Read(make([]byte, 1)) // its prompt: it has the image open
	require.NoError(t, err)
	for what, err := range map[string]error{
		"create": m.CreateSnapshot(t.Context(), path, "two"), "load": m.LoadSnapshot(t.Context(), path, "one"),
		"delete": m.DeleteSnapshot(t.Context(), path, "one"), "repair": m.Repair(t.Context(), path), "bitmap": m.RemoveBitmap(t.Context(), path, "x"),
		"delete image": m.Delete(t.Context(), path),
	} {
		require.ErrorIs(t, err, errors.ErrImageInUse, what)
		require.ErrorContains(t, err, fmt.Sprintf("by qemu-io (PID %d)", user.Process.Pid))
	}
	require.Equal(t, []string{"one"}, names(t, m, path))
	require.NoError(t, stdin.Close())
	require.NoError(t, user.Wait())
	require.NoError(t, m.DeleteSnapshot(t.Context(), path, "one"))
}

// TestSnapshotEncrypted: images that are encrypted, also below others, need their key.
func TestSnapshotEncrypted(t *testing.T) {
	m, root := manage(t)
	key := storage.Secret{Value: []byte("a, 'secret")}
	lock := &storage.Encryption{Secret: key, Unlock: 10 * time.Millisecond}
	base, err := m.Create(t.Context(), storage.CreateSpec{Path: filepath.Join(root, "base"), Size: mib, Encryption: lock})
	require.NoError(t, err)
	top, err := m.Overlay(t.Context(), storage.OverlaySpec{Path: filepath.Join(root, "top"), Base: base.Path, BaseFormat: base.Format, Encryption: lock})
	require.NoError(t, err)
	for _, path := range []string{base.Path, top.Path} {
		require.ErrorIs(t, m.CreateSnapshot(t.Context(), path, "one"), errors.ErrStorage)
		require.ErrorIs(t, m.CreateSnapshot(t.Context(), path, "one", storage.Secret{Value: []byte("wrong")}), errors.ErrStorage)
		require.NoError(t, m.CreateSnapshot(t.Context(), path, "one", key))
		require.Equal(t, []string{"one"}, names(t, m, path))
		if path == top.Path {
			require.NoError(t, m.LoadSnapshot(t.Context(), path, "one", key))
		} else {
			require.ErrorIs(t, m.LoadSnapshot(t.Context(), path, "one", key), errors.ErrImageInUse, "another stands on it")
		}
		require.NoError(t, m.Repair(t.Context(), path, key))
		bitmaps, err := m.Bitmaps(t.Context(), path)
		require.NoError(t, err)
		require.Empty(t, bitmaps)
		require.NoError(t, m.DeleteSnapshot(t.Context(), path, "one", key))
		require.Empty(t, names(t, m, path))
	}
}

// TestSnapshotMissing: what is not there is said so.
func TestSnapshotMissing(t *testing.T) {
	m, root := manage(t)
	path := newImage(t, m, filepath.Join(root, "disk"), mib)
	require.ErrorIs(t, m.LoadSnapshot(t.Context(), path, "x"), errors.ErrSnapshotNotFound)
	require.ErrorIs(t, m.DeleteSnapshot(t.Context(), path, "x"), errors.ErrSnapshotNotFound)
	missing := filepath.Join(root, "missing")
	require.ErrorIs(t, m.CreateSnapshot(t.Context(), missing, "x"), errors.ErrImageNotFound)
	require.ErrorIs(t, m.Repair(t.Context(), missing), errors.ErrImageNotFound)
	_, err := m.Bitmaps(t.Context(), missing)
	require.ErrorIs(t, err, errors.ErrImageNotFound)
}

// TestBitmaps: an image with dirty bitmaps loads no snapshot until they are gone.
func TestBitmaps(t *testing.T) {
	m, root := manage(t)
	path := newImage(t, m, filepath.Join(root, "disk"), mib)
	fill(t, path, 1)
	require.NoError(t, m.CreateSnapshot(t.Context(), path, "one"))
	for _, name := range []string{"maqet-1", "-a 'b"} {
		qemuImg(t, "bitmap", "--add", "-f", "qcow2", "--", path, name)
	}
	fill(t, path, 2)
	var failed *storage.RunError
	require.ErrorAs(t, m.LoadSnapshot(t.Context(), path, "one"), &failed)
	list, err := m.Bitmaps(t.Context(), path)
	require.NoError(t, err)
	require.ElementsMatch(t, []string{"maqet-1", "-a 'b"}, list)
	for _, name := range list {
		require.NoError(t, m.RemoveBitmap(t.Context(), path, name))
	}
	require.Error(t, m.RemoveBitmap(t.Context(), path, "maqet-1"))
	require.NoError(t, m.LoadSnapshot(t.Context(), path, "one"))
	requireFilled(t, path, 1)
}

// TestRepairCorrupt: an image that is corrupt is not touched, and the error says what it is.
func TestRepairCorrupt(t *testing.T) {
	m, root := manage(t)
	path := newImage(t, m, filepath.Join(root, "disk"), mib)
	fill(t, path, 1)
	image, err := os.ReadFile(path)
	require.NoError(t, err)
	l2 := uint64(image[40])<<56 | uint64(image[46])<<8 // the L1 table's offset, which is small: below 16 MiB
	for i := 41; i < 48; i++ {
		l2 |= uint64(image[i]) << (8 * (47 - i))
	}
	image[l2+5] ^= 0x10 // the L2 table is somewhere else now
	require.NoError(t, os.WriteFile(path, image, 0o600))
	err = m.Repair(t.Context(), path)
	var bad *storage.ImageError
	require.ErrorAs(t, err, &bad)
	require.ErrorContains(t, err, "corrupt")
	after, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, image, after)
}
