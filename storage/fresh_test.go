package storage_test

import (
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/internal/imagelock"
	"github.com/maqet/maqet/storage"
)

// TestDeleteInUse: what a QEMU program has open, or somebody works on, is not deleted.
func TestDeleteInUse(t *testing.T) {
	m, root := manage(t)
	img := made(t, m, filepath.Join(root, "disk"), "a")
	for name, take := range map[string]func(string) (*imagelock.Hold, error){
		"read": imagelock.Read, "worked on": imagelock.Exclude, "made the base of another": imagelock.Share,
	} {
		hold, err := take(img.Path)
		require.NoError(t, err, name)
		err = m.Delete(t.Context(), img.Path)
		require.ErrorIs(t, err, errors.ErrImageInUse, name)
		var fault *storage.ImageError
		require.ErrorAs(t, err, &fault, name)
		require.Equal(t, os.Getpid(), fault.Holders[0].PID, name)
		require.FileExists(t, img.Path)
		hold.Release()
	}
	require.NoError(t, os.Chmod(img.Path, 0o400))
	require.NoError(t, m.Delete(t.Context(), img.Path), "write-protected, and unused")
}

// TestRootIsALink: the images can lie on another disk.
func TestRootIsALink(t *testing.T) {
	_, real := manage(t)
	require.NoError(t, os.MkdirAll(real, 0o700))
	link := filepath.Join(t.TempDir(), "link")
	require.NoError(t, os.Symlink(real, link))
	m, err := storage.NewManager(storage.Options{Root: link})
	require.NoError(t, err)
	base := made(t, m, filepath.Join(link, "vm", "base"), "vm")
	over, err := m.Overlay(t.Context(), storage.OverlaySpec{Path: filepath.Join(link, "vm", "over"), Base: base.Path, BaseFormat: "qcow2"})
	require.NoError(t, err)
	foreign := writeFile(t, filepath.Join(link, "vm", "foreign"), "text")
	list, err := m.Orphans(t.Context(), owners("vm"))
	require.NoError(t, err)
	require.Len(t, list, 1)
	require.Equal(t, foreign, list[0].Path)

	require.NoError(t, m.Restack(t.Context(), over.Path, base.Path, "qcow2", false))
	found, err := m.Verify(t.Context(), storage.VerifySpec{})
	require.NoError(t, err)
	require.Empty(t, found)
	require.ErrorIs(t, m.Delete(t.Context(), base.Path), errors.ErrImageInUse)
	require.NoError(t, m.Delete(t.Context(), over.Path))
	require.NoError(t, m.Delete(t.Context(), base.Path))
}

// TestSizesStayRegistered: what gives an image another size registers it.
func TestSizesStayRegistered(t *testing.T) {
	m, root := manage(t)
	base := made(t, m, filepath.Join(root, "base"), "")
	require.NoError(t, m.CreateSnapshot(t.Context(), base.Path, "small"))
	_, err := m.Resize(t.Context(), storage.ResizeSpec{Path: base.Path, Format: "qcow2", Size: 2 * mib})
	require.NoError(t, err)
	require.NoError(t, m.LoadSnapshot(t.Context(), base.Path, "small"))
	size := func() int64 {
		files, err := m.Files(t.Context(), storage.FileFilter{Path: base.Path})
		require.NoError(t, err)
		return files[0].Size
	}
	require.EqualValues(t, mib, size())
	require.NoError(t, m.DeleteSnapshot(t.Context(), base.Path, "small"))

	over, err := m.Overlay(t.Context(), storage.OverlaySpec{Path: filepath.Join(root, "over"), Base: base.Path, BaseFormat: "qcow2", Size: 3 * mib})
	require.NoError(t, err)
	require.NoError(t, m.MergeDown(t.Context(), over.Path, base.Path))
	require.EqualValues(t, 3*mib, size())
	found, err := m.Verify(t.Context(), storage.VerifySpec{})
	require.NoError(t, err)
	require.Empty(t, found)
}

// TestAttachStaysInside: a file outside is not registered, whatever leads there.
func TestAttachStaysInside(t *testing.T) {
	m, root := manage(t)
	made(t, m, filepath.Join(root, "a"), "")
	outside := t.TempDir()
	qemuImg(t, "create", "-q", "-f", "qcow2", filepath.Join(outside, "mine"), "1M")
	require.NoError(t, os.Symlink(outside, filepath.Join(root, "link")))
	_, err := m.Attach(t.Context(), storage.AttachSpec{Path: filepath.Join(root, "link", "mine"), Owner: "vm", Format: "qcow2"})
	require.ErrorIs(t, err, errors.ErrStorage)
	files, err := m.Files(t.Context(), storage.FileFilter{Owner: "vm"})
	require.NoError(t, err)
	require.Empty(t, files)
}

// TestFolderComesAndGoes: of those that make and delete images in one folder nobody fails because
// another one has just removed it.
func TestFolderComesAndGoes(t *testing.T) {
	m, root := manage(t)
	var all sync.WaitGroup
	for i := range 4 {
		all.Go(func() {
			path := filepath.Join(root, "deep", "folder", itoa(i))
			for range 300 {
				_, err := m.Create(t.Context(), storage.CreateSpec{Path: path, Format: "raw", Size: 512})
				if err == nil {
					err = m.Delete(t.Context(), path)
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
}
