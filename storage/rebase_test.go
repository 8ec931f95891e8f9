package storage_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/storage"
)

// layered makes an overlay that holds other data than its base, and returns what a guest sees.
func layered(t *testing.T, m *storage.Manager, root string, seed uint64) (base, over storage.Image, data []byte) {
	t.Helper()
	data = filled(seed, 4)
	base = imported(t, m, filepath.Join(root, "base"), "raw", data)
	over = overlayOn(t, m, filepath.Join(root, "over"), base.Path, "raw")
	copy(data[mib:], filled(seed+1000, 1)[:3*cluster])
	patch(t, over.Path, "qcow2", mib, data[mib:mib+3*cluster])
	requireContent(t, data, over.Path, "qcow2")
	return base, over, data
}

func TestRebase(t *testing.T) {
	m, root := manage(t)
	base, over, data := layered(t, m, root, 40)
	other := imported(t, m, filepath.Join(root, "other"), "qcow2", filled(41, 2))

	seen := progress{t: t}
	img, err := m.Rebase(t.Context(), storage.RebaseSpec{Path: over.Path, Base: other.Path, BaseFormat: "qcow2", Progress: seen.report})
	require.NoError(t, err)
	require.Equal(t, other.Path, img.Base)
	requireRow(t, m, img)
	requireContent(t, data, over.Path, "qcow2")
	requireSound(t, over.Path)
	seen.requireDone(t)

	img, err = m.Rebase(t.Context(), storage.RebaseSpec{Path: over.Path})
	require.NoError(t, err)
	require.Empty(t, img.Base)
	requireRow(t, m, img)
	for _, gone := range []string{base.Path, other.Path} {
		require.NoError(t, m.Delete(t.Context(), gone))
	}
	requireContent(t, data, over.Path, "qcow2")
	requireSound(t, over.Path)
}

// TestRebaseUnsafe: only the name changes, also where the old base is gone.
func TestRebaseUnsafe(t *testing.T) {
	m, root := manage(t)
	base, over, data := layered(t, m, root, 42)
	moved := filepath.Join(t.TempDir(), "moved, away")
	require.NoError(t, os.Rename(base.Path, moved))
	_, err := m.Rebase(t.Context(), storage.RebaseSpec{Path: over.Path, Base: moved, BaseFormat: "raw"})
	require.ErrorIs(t, err, errors.ErrImageNotFound)
	img, err := m.Rebase(t.Context(), storage.RebaseSpec{Path: over.Path, Base: moved, BaseFormat: "raw", Unsafe: true})
	require.NoError(t, err)
	require.Equal(t, moved, img.Base)
	requireRow(t, m, img)
	requireContent(t, data, over.Path, "qcow2")
}

func TestRebaseRefuses(t *testing.T) {
	m, root := manage(t)
	base, over, data := layered(t, m, root, 43)
	top := overlayOn(t, m, filepath.Join(root, "top"), over.Path, "qcow2")
	spec := storage.RebaseSpec{Path: over.Path, Base: base.Path, BaseFormat: "raw"}
	_, err := m.Rebase(t.Context(), spec)
	requireBaseOf(t, err, over.Path, top.Path)
	for _, unsafe := range []bool{false, true} {
		_, err = m.Rebase(t.Context(), storage.RebaseSpec{Path: top.Path, Base: top.Path, BaseFormat: "qcow2", Unsafe: unsafe})
		require.ErrorContains(t, err, "stands on the image itself")
		_, err = m.Rebase(t.Context(), storage.RebaseSpec{Path: top.Path, BaseFormat: "qcow2", Unsafe: unsafe})
		require.ErrorContains(t, err, "no Base")
		_, err = m.Rebase(t.Context(), storage.RebaseSpec{Path: top.Path, Base: base.Path, BaseFormat: "qcow2", Unsafe: unsafe})
		var format *storage.FormatError
		require.ErrorAs(t, err, &format)
		_, err = m.Rebase(t.Context(), storage.RebaseSpec{Path: top.Path, Base: base.Path + "-missing", BaseFormat: "raw", Unsafe: unsafe})
		require.ErrorIs(t, err, errors.ErrImageNotFound)
	}
	qemuImg(t, "snapshot", "-c", "kept", top.Path)
	_, err = m.Rebase(t.Context(), storage.RebaseSpec{Path: top.Path})
	require.ErrorContains(t, err, "has internal snapshots")
	requireContent(t, data, top.Path, "qcow2")
}

// TestRebaseCancelled: the image is what it was, and the next attempt succeeds.
func TestRebaseCancelled(t *testing.T) {
	m, root := manage(t)
	data := filled(44, 64)
	base := imageOf(t, "raw", data)
	over := overlayOn(t, m, filepath.Join(root, "over"), base, "raw")
	ctx, cancel := context.WithCancel(t.Context())
	_, err := m.Rebase(ctx, storage.RebaseSpec{Path: over.Path, Progress: func(done, total int64) {
		if done > total/5 {
			cancel()
		}
	}})
	require.ErrorIs(t, err, context.Canceled)
	img, err := m.Inspect(t.Context(), over.Path, "qcow2")
	require.NoError(t, err)
	require.Equal(t, base, img.Base)
	requireContent(t, data, over.Path, "qcow2")
	report, err := m.Check(t.Context(), over.Path, "qcow2")
	require.NoError(t, err)
	require.Zero(t, report.Corruptions)

	_, err = m.Rebase(t.Context(), storage.RebaseSpec{Path: over.Path})
	require.NoError(t, err)
	requireContent(t, data, over.Path, "qcow2")
}

func TestCommit(t *testing.T) {
	m, root := manage(t)
	base, over, data := layered(t, m, root, 45)
	_, err := m.Resize(t.Context(), storage.ResizeSpec{Path: over.Path, Format: "qcow2", Size: 6 * mib})
	require.NoError(t, err)
	data = append(data, make([]byte, 2*mib)...)
	seen := progress{t: t}
	img, err := m.Commit(t.Context(), storage.CommitSpec{Path: over.Path, Base: base.Path, Empty: true, Progress: seen.report})
	require.NoError(t, err)
	require.Equal(t, base.Path, img.Path)
	require.EqualValues(t, 6*mib, img.Size, "as large as the overlay")
	requireRow(t, m, img)
	requireContent(t, data, base.Path, "raw")
	requireContent(t, data, over.Path, "qcow2")
	requireSound(t, over.Path)
	seen.requireDone(t)
	extents, err := m.Map(t.Context(), over.Path, "qcow2")
	require.NoError(t, err)
	for _, e := range extents {
		require.True(t, e.Depth == 1 || !e.Data, "it is empty")
	}

	copy(data, "more")
	patch(t, over.Path, "qcow2", 0, data[:512])
	_, err = m.Commit(t.Context(), storage.CommitSpec{Path: over.Path})
	require.NoError(t, err)
	requireContent(t, data, base.Path, "raw")
	require.NoError(t, m.Delete(t.Context(), over.Path))
	requireContent(t, data, base.Path, "raw")
}

func TestCommitRefuses(t *testing.T) {
	m, root := manage(t)
	base, over, data := layered(t, m, root, 46)
	want := contentOf(t, base.Path, "raw")
	_, err := m.Commit(t.Context(), storage.CommitSpec{Path: over.Path, Base: over.Path})
	require.ErrorContains(t, err, "correct CommitSpec.Base")
	sibling := overlayOn(t, m, filepath.Join(root, "sibling"), base.Path, "raw")
	_, err = m.Commit(t.Context(), storage.CommitSpec{Path: over.Path})
	requireBaseOf(t, err, base.Path, sibling.Path)
	require.NoError(t, m.Delete(t.Context(), sibling.Path))

	top := overlayOn(t, m, filepath.Join(root, "top"), over.Path, "qcow2")
	_, err = m.Commit(t.Context(), storage.CommitSpec{Path: over.Path})
	requireBaseOf(t, err, over.Path, top.Path)
	require.NoError(t, m.Delete(t.Context(), top.Path))

	qemuImg(t, "snapshot", "-c", "kept", over.Path)
	_, err = m.Commit(t.Context(), storage.CommitSpec{Path: over.Path})
	require.ErrorContains(t, err, "has internal snapshots")
	qemuImg(t, "snapshot", "-d", "kept", over.Path)

	alone := imported(t, m, filepath.Join(root, "alone"), "qcow2", data)
	_, err = m.Commit(t.Context(), storage.CommitSpec{Path: alone.Path})
	require.ErrorContains(t, err, "stands on no other image")

	requireContent(t, want, base.Path, "raw")
	requireContent(t, data, over.Path, "qcow2")
	foreign := filepath.Join(t.TempDir(), "foreign")
	qemuImg(t, "create", "-q", "-f", "qcow2", "-b", base.Path, "-F", "raw", foreign)
	pid := hold(t, "-f", "qcow2", foreign) // as a guest does
	_, err = m.Commit(t.Context(), storage.CommitSpec{Path: over.Path})
	requireHeld(t, err, base.Path, pid)
}

// TestCommitCancelled: through the overlay all is as before, and the next attempt finishes it.
func TestCommitCancelled(t *testing.T) {
	m, root := manage(t)
	base := imported(t, m, filepath.Join(root, "base"), "qcow2", make([]byte, 64*mib))
	over := overlayOn(t, m, filepath.Join(root, "over"), base.Path, "qcow2")
	data := filled(47, 64)
	patch(t, over.Path, "qcow2", 0, data)
	ctx, cancel := context.WithCancel(t.Context())
	_, err := m.Commit(ctx, storage.CommitSpec{Path: over.Path, Progress: func(done, total int64) {
		if done > total/5 {
			cancel()
		}
	}})
	require.ErrorIs(t, err, context.Canceled)
	requireContent(t, data, over.Path, "qcow2")
	_, err = m.Commit(t.Context(), storage.CommitSpec{Path: over.Path})
	require.NoError(t, err)
	requireContent(t, data, base.Path, "qcow2")
	requireContent(t, data, over.Path, "qcow2")
}
