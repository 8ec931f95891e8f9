package storage_test

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/internal/testhost"
	"github.com/maqet/maqet/storage"
)

func TestInspectRawIsPlainFile(t *testing.T) {
	m, _ := manageWith(t, runner(func(context.Context, ...string) ([]byte, error) {
		return nil, errors.New("not needed for raw images")
	}))
	for _, content := range []string{"", "QF", "abc", strings.Repeat("x", 5000)} {
		path := writeFile(t, filepath.Join(t.TempDir(), "disk"), content)
		img, err := m.Inspect(t.Context(), path, storage.FormatRaw)
		require.NoError(t, err)
		require.EqualValues(t, len(content), img.Size)
		require.Equal(t, storage.FormatRaw, img.Format)
	}
}

func TestInspectFollowsSymlinks(t *testing.T) {
	m, _ := manageWith(t, nil)
	path := writeFile(t, filepath.Join(t.TempDir(), "disk"), "abc")
	require.NoError(t, os.Symlink(path, path+".link"))
	img, err := m.Inspect(t.Context(), path+".link", storage.FormatRaw)
	require.NoError(t, err)
	require.EqualValues(t, 3, img.Size)
}

func TestInspectWrongFormat(t *testing.T) {
	m, root := manage(t)
	qcow2, err := m.Create(t.Context(), storage.CreateSpec{Path: filepath.Join(root, "a"), Size: mib})
	require.NoError(t, err)
	dir := t.TempDir()
	for _, c := range []struct{ path, stated, found string }{
		{qcow2.Path, storage.FormatRaw, "qcow2"},
		{writeFile(t, filepath.Join(dir, "raw"), "plain"), storage.FormatQcow2, "raw"},
		{writeFile(t, filepath.Join(dir, "empty"), ""), storage.FormatQcow2, "raw"},
		{writeFile(t, filepath.Join(dir, "vmdk"), "KDMV and so on"), storage.FormatRaw, "vmdk"},
		{writeFile(t, filepath.Join(dir, "vhdx"), "vhdxfile"), storage.FormatQcow2, "vhdx"},
	} {
		_, err := m.Inspect(t.Context(), c.path, c.stated)
		var format *storage.FormatError
		require.ErrorAs(t, err, &format, c.path)
		require.Equal(t, c.found, format.Found)
		require.Equal(t, c.stated, format.Stated)
		require.ErrorIs(t, err, errors.ErrStorage)
		require.ErrorContains(t, err, c.path)
	}
	_, err = m.Inspect(t.Context(), qcow2.Path, "")
	require.ErrorIs(t, err, errors.ErrStorage)
}

func TestInspectMissing(t *testing.T) {
	m, root := manage(t)
	_, err := m.Inspect(t.Context(), filepath.Join(root, "nothing"), storage.FormatRaw)
	require.ErrorIs(t, err, errors.ErrImageNotFound)
	require.Equal(t, errors.ErrImageNotFound, errors.KindOf(err))

	base, err := m.Create(t.Context(), storage.CreateSpec{Path: filepath.Join(root, "base"), Size: mib})
	require.NoError(t, err)
	top, err := m.Overlay(t.Context(), storage.OverlaySpec{Path: filepath.Join(root, "top"), Base: base.Path, BaseFormat: base.Format})
	require.NoError(t, err)
	require.NoError(t, os.Remove(base.Path))
	_, err = m.Inspect(t.Context(), top.Path, storage.FormatQcow2)
	require.ErrorIs(t, err, errors.ErrImageNotFound)
	require.ErrorContains(t, err, base.Path)
}

func TestInspectNotAnImage(t *testing.T) {
	m, _ := manage(t)
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	require.NoError(t, unix.Mkfifo(fifo, 0o600))
	socket := "s" // relative, because a socket's path must be short
	t.Chdir(dir)
	listener, err := net.Listen("unix", socket)
	require.NoError(t, err)
	defer listener.Close()
	for path, says := range map[string]string{
		dir:         "a folder",
		fifo:        "a FIFO",
		socket:      "a socket",
		"/dev/null": "a device",
		writeFile(t, filepath.Join(dir, "damaged"), "QFI\xfb and then nonsense"): "damaged",
		"": "empty", "a\x00b": "zero byte",
	} {
		for _, format := range []string{storage.FormatRaw, storage.FormatQcow2} {
			if format == storage.FormatRaw && says == "damaged" {
				continue
			}
			_, err := m.Inspect(t.Context(), path, format)
			require.ErrorIs(t, err, errors.ErrStorage, path)
			require.ErrorContains(t, err, says)
		}
	}
}

func TestInspectUnreadable(t *testing.T) {
	if os.Geteuid() != 0 {
		testhost.Lacks(t, "acting as another user needs root")
	}
	m, _ := manageWith(t, nil)
	path := writeFile(t, filepath.Join(t.TempDir(), "disk"), "abc")
	// Only this thread's file accesses are made by nobody (setfsuid(2)).
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	_, err := unix.SetfsuidRetUid(65534)
	require.NoError(t, err)
	_, inspectErr := m.Inspect(t.Context(), path, storage.FormatRaw)
	_, err = unix.SetfsuidRetUid(0)
	require.NoError(t, err)
	require.ErrorIs(t, inspectErr, errors.ErrStorage)
	require.ErrorIs(t, inspectErr, os.ErrPermission)
	require.ErrorContains(t, inspectErr, path)
}

func TestDelete(t *testing.T) {
	m, root := manageWith(t, nil)
	require.NoError(t, m.Delete(t.Context(), filepath.Join(root, "nothing")), "there is not even the root folder")
	path := filepath.Join(root, "vm", "disk")
	_, err := m.Create(t.Context(), storage.CreateSpec{Path: path, Format: storage.FormatRaw, Size: 512})
	require.NoError(t, err)
	require.NoError(t, m.Delete(t.Context(), path))
	require.NoFileExists(t, path)
	files, err := m.Files(t.Context(), storage.FileFilter{})
	require.NoError(t, err)
	require.Empty(t, files, "it is forgotten")
	require.NoError(t, m.Delete(t.Context(), path))
	require.NoError(t, m.Delete(t.Context(), filepath.Join(root, "no", "such", "folder")))
}

func TestDeleteRefuses(t *testing.T) {
	m, root := manageWith(t, nil)
	outside := t.TempDir()
	precious := writeFile(t, filepath.Join(outside, "precious"), "abc")
	writeFile(t, filepath.Join(root, "vm", "disk"), "abc")
	require.NoError(t, os.Symlink(outside, filepath.Join(root, "escape")))
	require.NoError(t, os.Symlink(precious, filepath.Join(root, "link")))
	require.NoError(t, unix.Mkfifo(filepath.Join(root, "fifo"), 0o600))
	for _, path := range []string{
		filepath.Join(root, "vm", "disk"), precious, root, filepath.Join(root, "vm"), filepath.Join(root, "escape", "precious"), filepath.Join(root, "link"),
		filepath.Join(root, "fifo"), root + "/../" + filepath.Base(root) + "2", root + "-other", "", "/", "a\x00b",
	} {
		require.ErrorIs(t, m.Delete(t.Context(), path), errors.ErrStorage, "%q", path)
	}
	require.FileExists(t, precious)
	require.FileExists(t, filepath.Join(root, "vm", "disk"))
	_, err := os.Lstat(filepath.Join(root, "link"))
	require.NoError(t, err)
}
