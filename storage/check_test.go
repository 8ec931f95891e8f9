package storage_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/storage"
)

// damage overwrites bytes of a qcow2 image's refcount block, or of the L2 table that its first
// clusters have.
func damage(t *testing.T, path string, at int64, bytes ...byte) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	require.NoError(t, err)
	_, err = f.WriteAt(bytes, at)
	require.NoError(t, err)
	require.NoError(t, f.Close())
}

const (
	refcounts = 2 * 64 << 10 // where the refcount block of a small image is
	cluster   = 64 << 10
)

func TestCheck(t *testing.T) {
	m, root := manage(t)
	data := filled(30, 4)
	img := imported(t, m, filepath.Join(root, "disk"), "qcow2", data)
	report, err := m.Check(t.Context(), img.Path, "qcow2")
	require.NoError(t, err)
	require.True(t, report.Clean())
	require.EqualValues(t, 4*mib/cluster, report.TotalClusters)
	require.Positive(t, report.AllocatedClusters)
	require.Positive(t, report.End)

	info, err := os.Stat(img.Path)
	require.NoError(t, err)
	free := (info.Size() + cluster - 1) / cluster
	require.NoError(t, os.Truncate(img.Path, (free+1)*cluster))
	damage(t, img.Path, refcounts+2*free, 0, 1) // counted, and used by nobody
	report, err = m.Check(t.Context(), img.Path, "qcow2")
	require.NoError(t, err)
	require.EqualValues(t, 1, report.Leaks)
	require.Zero(t, report.Corruptions)
	require.False(t, report.Clean())

	damage(t, img.Path, refcounts+2*4, 0, 0) // used, and not counted
	report, err = m.Check(t.Context(), img.Path, "qcow2")
	require.NoError(t, err)
	require.Positive(t, report.Corruptions)

	report, err = m.RepairAll(t.Context(), img.Path)
	require.NoError(t, err)
	require.True(t, report.Clean())
	require.Positive(t, report.CorruptionsFixed)
	require.EqualValues(t, 1, report.LeaksFixed)
	requireSound(t, img.Path)
	requireContent(t, data, img.Path, "qcow2")

	report, err = m.RepairAll(t.Context(), img.Path)
	require.NoError(t, err)
	require.Zero(t, report.CorruptionsFixed+report.LeaksFixed, "nothing is left to do")
}

func TestCheckRaw(t *testing.T) {
	m, _ := manage(t)
	report, err := m.Check(t.Context(), imageOf(t, "raw", filled(1, 1)), "raw")
	require.NoError(t, err)
	require.True(t, report.Clean())
}

func TestCheckRefuses(t *testing.T) {
	m, root := manage(t)
	img := imported(t, m, filepath.Join(root, "disk"), "qcow2", filled(1, 1))
	_, err := m.Check(t.Context(), img.Path, "raw")
	var format *storage.FormatError
	require.ErrorAs(t, err, &format)
	_, err = m.Check(t.Context(), img.Path+"-missing", "qcow2")
	require.ErrorIs(t, err, errors.ErrImageNotFound)
	over := overlayOn(t, m, filepath.Join(root, "over"), img.Path, "qcow2")
	_, err = m.RepairAll(t.Context(), img.Path)
	requireBaseOf(t, err, img.Path, over.Path)
	_, err = m.Check(t.Context(), img.Path, "qcow2")
	require.NoError(t, err, "a base can be looked at")

	pid := hold(t, "-f", "qcow2", img.Path)
	_, err = m.Check(t.Context(), img.Path, "qcow2")
	requireHeld(t, err, img.Path, pid)
	_, err = m.RepairAll(t.Context(), img.Path)
	requireHeld(t, err, img.Path, pid)
	damage(t, over.Path, 0, 'x')
	_, err = m.Check(t.Context(), over.Path, "qcow2")
	require.ErrorIs(t, err, errors.ErrStorage)
}

// TestRepairDirty: lazy reference counts of an image whose user was killed are no damage.
func TestRepairDirty(t *testing.T) {
	m, root := manage(t)
	img, err := m.Create(t.Context(), storage.CreateSpec{Path: filepath.Join(root, "disk"), Size: 8 * mib,
		Options: storage.Qcow2Options{LazyRefcounts: true}})
	require.NoError(t, err)
	needQemuIO(t)
	require.Error(t, exec.Command("qemu-io", "-f", "qcow2", "-c", "write -P 5 0 1M", "-c", "flush", "-c", "sigraise 9", img.Path).Run())
	found, err := m.Verify(t.Context(), storage.VerifySpec{Deep: true})
	require.NoError(t, err)
	require.Len(t, found, 1)
	require.Equal(t, storage.FoundLeaks, found[0].Kind)
	require.NoError(t, m.Repair(t.Context(), img.Path))
	requireSound(t, img.Path)
	requireContent(t, append(bytes.Repeat([]byte{5}, mib), make([]byte, 7*mib)...), img.Path, "qcow2")
	found, err = m.Verify(t.Context(), storage.VerifySpec{Deep: true})
	require.NoError(t, err)
	require.Empty(t, found)
}

// TestRepairMarkedCorrupt: an image that QEMU refuses to write is what repairs are for.
func TestRepairMarkedCorrupt(t *testing.T) {
	m, root := manage(t)
	data := filled(31, 2)
	img := imported(t, m, filepath.Join(root, "disk"), "qcow2", data)
	damage(t, img.Path, 79, 2) // incompatible_features, corrupt
	_, err := m.Usable(t.Context(), img.Path, "qcow2", true)
	require.ErrorContains(t, err, "corrupt")
	_, err = m.RepairAll(t.Context(), img.Path)
	require.NoError(t, err)
	_, err = m.Usable(t.Context(), img.Path, "qcow2", true)
	require.NoError(t, err)
	requireContent(t, data, img.Path, "qcow2")
}
