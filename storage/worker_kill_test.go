package storage_test

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/internal/imagelock"
	"github.com/maqet/maqet/storage"
)

// requireReleased waits until the locks of a process that was killed, and of its qemu-img, are
// gone.
func requireReleased(t *testing.T, paths ...string) {
	t.Helper()
	for _, path := range paths {
		require.Eventually(t, func() bool { return !imagelock.Open(path) && !imagelock.Excluded(path) }, time.Minute, 5*time.Millisecond)
	}
}

// TestKilledMaking: wherever a process is killed that makes an image, there is a whole image or
// none, what is left is listed, and the same can be done again.
func TestKilledMaking(t *testing.T) {
	data := filled(70, 16)
	for _, op := range []string{"import", "clone", "convert"} {
		for _, halt := range []string{"PutFile 1", "progress", "PutFile 2", "PutFile 3", "DropFile 1"} {
			t.Run(op+" at "+halt, func(t *testing.T) {
				dir := t.TempDir()
				m, root, err := manageShared(dir, nil)
				require.NoError(t, err)
				source, path := imageOf(t, "qcow2", data), filepath.Join(root, "vm", "disk")
				w := work{Dir: dir, Op: op, Source: source, Path: path, Halt: halt}
				w.start(t).kill()
				requireReleased(t, source, path+".partial")

				files, err := m.Files(t.Context(), storage.FileFilter{})
				require.NoError(t, err)
				whole := halt == "DropFile 1"
				if whole {
					requireContent(t, data, path, "qcow2")
					requireSound(t, path)
				} else if info, err := os.Stat(path); err == nil {
					require.Equal(t, halt == "PutFile 3", info.Size() > 0)
					if halt == "PutFile 2" { // a placeholder that is not registered: it could be anybody's
						require.NoError(t, m.Delete(t.Context(), path))
					}
				}
				for _, f := range files {
					require.Equal(t, f.Path != path || !whole, f.Unfinished)
					require.Equal(t, "vm", f.Owner)
				}
				orphans, err := m.Orphans(t.Context(), owners("vm"))
				require.NoError(t, err)
				if halt == "progress" {
					require.Len(t, orphans, 1)
					require.Equal(t, []any{path + ".partial", storage.OrphanUnfinished}, []any{orphans[0].Path, orphans[0].Why})
				}
				if whole {
					require.NoError(t, m.Delete(t.Context(), path))
					require.NoError(t, m.Forget(t.Context(), path+".partial"))
				}

				require.NoError(t, w.run(t.Context(), m, nil))
				requireContent(t, data, path, "qcow2")
				requireSound(t, path)
				requireContent(t, data, source, "qcow2")
				entries, err := os.ReadDir(filepath.Dir(path))
				require.NoError(t, err)
				require.Len(t, entries, 1)
				found, err := m.Verify(t.Context(), storage.VerifySpec{Deep: true})
				require.NoError(t, err)
				require.Empty(t, found)
			})
		}
	}
}

// TestKilledChanging: wherever a process is killed that changes an image, a guest sees what it
// saw, there is no damage but clusters that leaked, and the same can be done again.
func TestKilledChanging(t *testing.T) {
	for _, op := range []string{"compress", "rebase", "commit"} {
		for _, halt := range []string{"progress", "PutFile 1", "DropFile 1"} {
			if halt == "DropFile 1" && op != "compress" {
				continue
			}
			t.Run(op+" at "+halt, func(t *testing.T) {
				dir := t.TempDir()
				m, root, err := manageShared(dir, nil)
				require.NoError(t, err)
				data := filled(71, 16)
				base := imported(t, m, filepath.Join(root, "base"), "qcow2", data[:8*mib])
				over, err := m.Overlay(t.Context(), storage.OverlaySpec{Path: filepath.Join(root, "over"), Base: base.Path, BaseFormat: "qcow2", Size: 16 * mib})
				require.NoError(t, err)
				patch(t, over.Path, "qcow2", 0, data[4*mib:8*mib])
				copy(data, data[4*mib:8*mib])
				patch(t, over.Path, "qcow2", 8*mib, data[8*mib:])

				w := work{Dir: dir, Op: op, Path: over.Path, Halt: halt}
				p := w.start(t)
				time.Sleep(time.Duration(rand.IntN(30)) * time.Millisecond) // qemu-img goes on, to its end or not
				p.kill()
				requireReleased(t, over.Path, base.Path, over.Path+".partial")
				requireContent(t, data, over.Path, "qcow2")
				for _, path := range []string{over.Path, base.Path} {
					report, err := m.Check(t.Context(), path, "qcow2")
					require.NoError(t, err)
					require.Zero(t, report.Corruptions+report.Errors, path)
				}
				if halt == "DropFile 1" {
					require.NoError(t, m.Forget(t.Context(), over.Path+".partial"))
				}

				require.NoError(t, w.run(t.Context(), m, nil))
				requireContent(t, data, over.Path, "qcow2")
				if op == "commit" {
					requireContent(t, data, base.Path, "qcow2")
				}
				for _, path := range []string{over.Path, base.Path} {
					file, err := m.Refresh(t.Context(), path)
					require.NoError(t, err)
					require.False(t, file.Unfinished)
				}
				found, err := m.Verify(t.Context(), storage.VerifySpec{})
				require.NoError(t, err)
				require.Empty(t, found)
				require.NoFileExists(t, over.Path+".partial")
			})
		}
	}
}

// TestTwoProcesses: while one works on an image the other is refused, and told by whom.
func TestTwoProcesses(t *testing.T) {
	dir := t.TempDir()
	m, root, err := manageShared(dir, nil)
	require.NoError(t, err)
	data := filled(72, 16)
	source := imported(t, m, filepath.Join(root, "source"), "qcow2", data)
	path := filepath.Join(root, "copy")
	refused := func(p *worker, err error) {
		t.Helper()
		require.ErrorIs(t, err, errors.ErrImageInUse)
		var bad *storage.ImageError
		require.ErrorAs(t, err, &bad)
		var pids []int
		for _, h := range bad.Holders {
			pids = append(pids, h.PID)
		}
		require.Contains(t, pids, p.cmd.Process.Pid)
	}
	overlay := func() error {
		_, err := m.Overlay(t.Context(), storage.OverlaySpec{Path: filepath.Join(root, "over"), Base: source.Path, BaseFormat: "qcow2"})
		return err
	}
	resize := func() error {
		_, err := m.Resize(t.Context(), storage.ResizeSpec{Path: source.Path, Format: "qcow2", Size: 32 * mib})
		return err
	}

	convert := work{Dir: dir, Op: "convert", Source: source.Path, Path: path, Halt: "progress"}
	p := convert.start(t)
	refused(p, resize())
	_, err = m.Convert(t.Context(), storage.ConvertSpec{Source: source.Path, Format: "qcow2", Path: path})
	refused(p, err)
	orphans, err := m.Orphans(t.Context(), owners("vm"))
	require.NoError(t, err)
	require.Empty(t, orphans, "what is being made is no orphan")
	found, err := m.Verify(t.Context(), storage.VerifySpec{Deep: true})
	require.NoError(t, err)
	require.Empty(t, found)
	p.finish()
	requireContent(t, data, path, "qcow2")

	p = work{Dir: dir, Op: "compress", Path: source.Path, Halt: "progress"}.start(t)
	refused(p, resize())
	refused(p, overlay())
	p.finish()
	requireContent(t, data, source.Path, "qcow2")

	require.NoError(t, overlay())
	err = work{Op: "compress", Path: source.Path}.run(t.Context(), m, nil)
	requireBaseOf(t, err, source.Path, filepath.Join(root, "over"))
}
