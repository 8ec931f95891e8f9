package storage_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/storage"
)

// owners are the VMs that exist.
func owners(ids ...string) func(context.Context) ([]string, error) {
	return func(context.Context) ([]string, error) { return ids, nil }
}

func made(t *testing.T, m *storage.Manager, path, owner string) storage.Image {
	t.Helper()
	img, err := m.Create(t.Context(), storage.CreateSpec{Path: path, Size: mib, For: storage.For{Owner: owner, Disk: "disk0"}})
	require.NoError(t, err)
	return img
}

func TestOrphans(t *testing.T) {
	m, root := manage(t)
	list, err := m.Orphans(t.Context(), owners())
	require.NoError(t, err)
	require.Empty(t, list, "there is not even a folder")

	kept := made(t, m, filepath.Join(root, "a", "disk"), "a")
	gone := made(t, m, filepath.Join(root, "b", "disk"), "b")
	free := made(t, m, filepath.Join(root, "free"), "")
	vanished := made(t, m, filepath.Join(root, "b", "vanished"), "b")
	require.NoError(t, os.Remove(vanished.Path))
	foreign := writeFile(t, filepath.Join(root, "b", "foreign"), "text")
	empty := writeFile(t, filepath.Join(root, "new"), "")
	old := writeFile(t, filepath.Join(root, "old"), "")
	past := time.Now().Add(-time.Hour)
	require.NoError(t, os.Chtimes(old, past, past))
	require.NoError(t, os.Symlink(free.Path, filepath.Join(root, "link")))

	list, err = m.Orphans(t.Context(), owners("a"))
	require.NoError(t, err)
	var got [][2]string
	for _, o := range list {
		got = append(got, [2]string{o.Path, string(o.Why)})
	}
	require.Equal(t, [][2]string{
		{gone.Path, string(storage.OrphanOwnerGone)}, {foreign, string(storage.OrphanUnregistered)}, {old, string(storage.OrphanUnregistered)},
	}, got)
	require.Equal(t, "b", list[0].Owner)
	require.Positive(t, list[0].Allocated)
	for _, path := range []string{kept.Path, free.Path, foreign, empty} {
		require.FileExists(t, path)
	}

	_, err = m.Orphans(t.Context(), func(context.Context) ([]string, error) { return nil, errors.ErrDatabase })
	require.ErrorIs(t, err, errors.ErrDatabase)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = m.Orphans(ctx, owners())
	require.ErrorIs(t, err, context.Canceled)
}

func TestAttach(t *testing.T) {
	m, root := manage(t)
	img := made(t, m, filepath.Join(root, "a", "disk"), "a")
	_, err := m.Attach(t.Context(), storage.AttachSpec{Path: img.Path, Owner: "b", Disk: "data"})
	require.ErrorContains(t, err, `belongs to VM "a"`)
	file, err := m.Attach(t.Context(), storage.AttachSpec{Path: img.Path, Owner: "b", Disk: "data", From: "a"})
	require.NoError(t, err)
	require.Equal(t, []any{"b", "data", storage.KindDisk}, []any{file.Owner, file.Disk, file.Kind})
	files, err := m.Files(t.Context(), storage.FileFilter{Owner: "b"})
	require.NoError(t, err)
	require.Equal(t, []storage.File{file}, files)

	foreign := filepath.Join(root, "foreign")
	qemuImg(t, "create", "-q", "-f", "qcow2", "-b", img.Path, "-F", "qcow2", foreign)
	require.ErrorIs(t, m.Delete(t.Context(), foreign), errors.ErrStorage)
	_, err = m.Attach(t.Context(), storage.AttachSpec{Path: foreign, Owner: "b"})
	require.ErrorContains(t, err, "state its format")
	_, err = m.Attach(t.Context(), storage.AttachSpec{Path: foreign, Owner: "b", Format: "raw"})
	var format *storage.FormatError
	require.ErrorAs(t, err, &format)
	pid := hold(t, "-f", "qcow2", foreign)
	_, err = m.Attach(t.Context(), storage.AttachSpec{Path: foreign, Owner: "b", Format: "qcow2"})
	requireHeld(t, err, foreign, pid)
}

func TestAttachUnregistered(t *testing.T) {
	m, root := manage(t)
	base := made(t, m, filepath.Join(root, "base"), "")
	foreign := filepath.Join(root, "foreign")
	qemuImg(t, "create", "-q", "-f", "qcow2", "-b", base.Path, "-F", "qcow2", foreign)
	file, err := m.Attach(t.Context(), storage.AttachSpec{Path: foreign, Owner: "b", Format: "qcow2"})
	require.NoError(t, err)
	require.Equal(t, []any{storage.KindOverlay, "qcow2", int64(mib), base.Path}, []any{file.Kind, file.Format, file.Size, file.Base})
	require.ErrorIs(t, m.Delete(t.Context(), base.Path), errors.ErrImageInUse, "now it is known to be needed")
	require.NoError(t, m.Delete(t.Context(), foreign))
	require.NoError(t, m.Delete(t.Context(), base.Path))

	for says, spec := range map[string]storage.AttachSpec{
		"not below":      {Path: writeFile(t, filepath.Join(t.TempDir(), "x"), "x"), Format: "raw"},
		"does not exist": {Path: filepath.Join(root, "missing"), Format: "raw"},
		"a folder":       {Path: filepath.Dir(writeFile(t, filepath.Join(root, "folder", "x"), "x")), Format: "raw"},
	} {
		_, err := m.Attach(t.Context(), spec)
		require.ErrorIs(t, err, errors.ErrStorage)
		require.ErrorContains(t, err, says)
	}
}

func TestForget(t *testing.T) {
	m, root := manage(t)
	img := made(t, m, filepath.Join(root, "disk"), "a")
	require.ErrorContains(t, m.Forget(t.Context(), img.Path), "is still there")
	requireRow(t, m, img)
	require.NoError(t, os.Remove(img.Path))
	require.NoError(t, m.Forget(t.Context(), img.Path))
	require.NoError(t, m.Forget(t.Context(), img.Path))
	requireNoRows(t, m)
}

// TestDeleteBase: an image that another VM needs stays; what one VM has goes in any order.
func TestDeleteBase(t *testing.T) {
	m, root := manage(t)
	base := made(t, m, filepath.Join(root, "base"), "a")
	layer := func(name, owner string) storage.Image {
		img, err := m.Overlay(t.Context(), storage.OverlaySpec{Path: filepath.Join(root, name), Base: base.Path, BaseFormat: "qcow2",
			For: storage.For{Owner: owner}})
		require.NoError(t, err)
		return img
	}
	own, other := layer("own", "a"), layer("other", "b")
	requireBaseOf(t, m.Delete(t.Context(), base.Path), base.Path, other.Path)
	require.NoError(t, m.Delete(t.Context(), other.Path))
	require.NoError(t, m.Delete(t.Context(), base.Path))
	require.NoError(t, m.Delete(t.Context(), own.Path))
	requireNoRows(t, m)
}

func TestVerify(t *testing.T) {
	m, root := manage(t)
	at := func(name string) string { return filepath.Join(root, name) }
	for _, name := range []string{"fine", "missing", "format", "size", "damaged", "leaks", "held", "base", "header"} {
		made(t, m, at(name), "a")
	}
	overlayOn(t, m, at("moved"), at("fine"), "qcow2")
	overlayOn(t, m, at("footless"), at("base"), "qcow2")
	_, err := m.ISO(t.Context(), storage.ISOSpec{Path: at("iso"), Label: "x", Files: map[string][]byte{"a": []byte("text")}})
	require.NoError(t, err)
	found, err := m.Verify(t.Context(), storage.VerifySpec{Deep: true})
	require.NoError(t, err)
	require.Empty(t, found)

	require.NoError(t, os.Remove(at("missing")))
	require.NoError(t, os.WriteFile(at("format"), []byte("text"), 0o600))
	qemuImg(t, "resize", "-q", "-f", "qcow2", at("size"), "2M")
	qemuImg(t, "rebase", "-q", "-u", "-f", "qcow2", "-F", "qcow2", "-b", at("size"), at("moved"))
	damage(t, at("header"), 4, 0, 0, 0, 9)
	require.NoError(t, os.Remove(at("base")))
	patch(t, at("damaged"), "qcow2", 0, make([]byte, 512))
	damage(t, at("damaged"), refcounts+2*4, 0, 0)
	info, err := os.Stat(at("leaks"))
	require.NoError(t, err)
	free := (info.Size() + cluster - 1) / cluster
	require.NoError(t, os.Truncate(at("leaks"), (free+1)*cluster))
	damage(t, at("leaks"), refcounts+2*free, 0, 1)
	hold(t, "-f", "qcow2", at("held"))

	kinds := func(deep bool) map[string]storage.FindingKind {
		seen := progress{t: t}
		found, err := m.Verify(t.Context(), storage.VerifySpec{Deep: deep, Progress: seen.report})
		require.NoError(t, err)
		seen.requireDone(t)
		out := map[string]storage.FindingKind{}
		for _, f := range found {
			require.NotEmpty(t, f.Detail)
			out[filepath.Base(f.File.Path)] = f.Kind
		}
		return out
	}
	want := map[string]storage.FindingKind{"missing": storage.FoundMissing, "base": storage.FoundMissing, "format": storage.FoundFormat,
		"size": storage.FoundSize, "moved": storage.FoundBase, "footless": storage.FoundBase, "header": storage.FoundDamaged}
	require.Equal(t, want, kinds(false))
	want["damaged"], want["leaks"], want["held"] = storage.FoundDamaged, storage.FoundLeaks, storage.FoundUnchecked
	require.Equal(t, want, kinds(true))

	for _, name := range []string{"size", "moved"} {
		_, err := m.Refresh(t.Context(), at(name))
		require.NoError(t, err)
		delete(want, name)
	}
	require.NoError(t, m.Forget(t.Context(), at("missing")))
	delete(want, "missing")
	require.Equal(t, want, kinds(true))
	found, err = m.Verify(t.Context(), storage.VerifySpec{Owner: "another"})
	require.NoError(t, err)
	require.Empty(t, found)
}

func TestRefresh(t *testing.T) {
	m, root := manage(t)
	img := made(t, m, filepath.Join(root, "disk"), "a")
	qemuImg(t, "resize", "-q", "-f", "qcow2", img.Path, "2M")
	file, err := m.Refresh(t.Context(), img.Path)
	require.NoError(t, err)
	require.EqualValues(t, 2*mib, file.Size)
	require.Equal(t, "a", file.Owner)
	_, err = m.Refresh(t.Context(), filepath.Join(root, "another"))
	require.ErrorIs(t, err, errors.ErrImageNotFound)
}

// TestFilesOfOtherHosts: a registry can have them, and they are none of a Manager's.
func TestFilesOfOtherHosts(t *testing.T) {
	var files storage.MemoryRegistry
	require.NoError(t, files.PutFile(t.Context(), storage.File{Path: "/there/x.qcow2", Host: "fleet", Owner: "id"}))
	m, err := storage.NewManager(storage.Options{Root: t.TempDir(), Registry: &files})
	require.NoError(t, err)
	list, err := m.Files(t.Context(), storage.FileFilter{Owner: "id"})
	require.NoError(t, err)
	require.Empty(t, list)
	found, err := m.Verify(t.Context(), storage.VerifySpec{})
	require.NoError(t, err)
	require.Empty(t, found)
}
