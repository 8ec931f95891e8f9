package main

import (
	"archive/tar"
	"bytes"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestWriteFileThenReadIt(t *testing.T) {
	s := connect(t)
	path := filepath.Join(t.TempDir(), "file")
	content := bytes.Repeat([]byte("0123456789abcdef"), 100_000)
	require.NoError(t, s.WriteFile(within(t, 5*time.Second), path, 0o751, bytes.NewReader(content)))
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, fs.FileMode(0o751), info.Mode())
	var back bytes.Buffer
	require.NoError(t, s.ReadFile(within(t, 5*time.Second), path, &back))
	require.True(t, bytes.Equal(content, back.Bytes()))
	require.ErrorIs(t, s.ReadFile(within(t, 5*time.Second), path+"x", io.Discard), fs.ErrNotExist)
	require.ErrorIs(t, s.WriteFile(within(t, 5*time.Second), path+"/x", 0, strings.NewReader("")), syscall.ENOTDIR)
}

func TestWriteFileThatFailsLeavesWhatWasThere(t *testing.T) {
	s := connect(t)
	dir := t.TempDir()
	path := write(t, filepath.Join(dir, "file"), "old")
	broken := io.MultiReader(strings.NewReader("new"), brokenReader{})
	require.ErrorIs(t, s.WriteFile(within(t, 5*time.Second), path, 0, broken), io.ErrNoProgress)
	require.Eventually(t, func() bool {
		entries, err := os.ReadDir(dir)
		return err == nil && len(entries) == 1
	}, 5*time.Second, time.Millisecond, "the temporary file is removed")
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, "old", string(text))
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, io.ErrNoProgress }

func TestWriteFileThroughALinkAndToADevice(t *testing.T) {
	s := connect(t)
	dir := t.TempDir()
	target := write(t, filepath.Join(dir, "target"), "old")
	link := filepath.Join(dir, "link")
	require.NoError(t, os.Symlink("target", link))
	require.NoError(t, s.WriteFile(within(t, 5*time.Second), link, 0, strings.NewReader("new")))
	text, err := os.ReadFile(target)
	require.NoError(t, err)
	require.Equal(t, "new", string(text))
	require.NoError(t, s.WriteFile(within(t, 5*time.Second), "/dev/null", 0, strings.NewReader("x")))
	info, err := os.Stat("/dev/null")
	require.NoError(t, err)
	require.NotZero(t, info.Mode()&fs.ModeDevice)
}

func TestReadFileWithoutSize(t *testing.T) {
	var out bytes.Buffer
	require.NoError(t, connect(t).ReadFile(within(t, 5*time.Second), "/proc/self/mounts", &out))
	require.NotZero(t, out.Len())
}

func TestTreeThereAndBack(t *testing.T) {
	s := connect(t)
	src, dst := t.TempDir(), filepath.Join(t.TempDir(), "new", "folder")
	write(t, filepath.Join(src, "a", "b", "file"), strings.Repeat("x", 1<<20))
	write(t, filepath.Join(src, "top"), "top")
	require.NoError(t, os.Chmod(filepath.Join(src, "top"), 0o777|fs.ModeSetuid))
	require.NoError(t, os.Symlink("../nowhere", filepath.Join(src, "a", "link")))
	require.NoError(t, os.Chmod(filepath.Join(src, "a"), 0o500))
	when := time.Unix(1_500_000_000, 42)
	for _, name := range []string{"top", "a/b/file", "a/b", "a"} {
		require.NoError(t, os.Chtimes(filepath.Join(src, name), when, when))
	}
	t.Cleanup(func() {
		os.Chmod(filepath.Join(src, "a"), 0o700)
		os.Chmod(filepath.Join(dst, "a"), 0o700)
	})
	for range 2 { // the second replaces what the first put there
		var archive bytes.Buffer
		require.NoError(t, s.GetTree(within(t, 10*time.Second), src, &archive))
		require.NoError(t, s.PutTree(within(t, 10*time.Second), dst, &archive))
	}
	for _, name := range []string{".", "top", "a", "a/b", "a/b/file", "a/link"} {
		want, err := os.Lstat(filepath.Join(src, name))
		require.NoError(t, err)
		got, err := os.Lstat(filepath.Join(dst, name))
		require.NoError(t, err)
		require.Equal(t, want.Mode(), got.Mode(), name)
		if name != "." && name != "a/link" {
			require.Equal(t, when, got.ModTime(), name)
		}
	}
	text, err := os.ReadFile(filepath.Join(dst, "a/b/file"))
	require.NoError(t, err)
	require.Len(t, text, 1<<20)
	target, err := os.Readlink(filepath.Join(dst, "a/link"))
	require.NoError(t, err)
	require.Equal(t, "../nowhere", target)
}

func TestGetTreeOfAFile(t *testing.T) {
	s := connect(t)
	path := write(t, filepath.Join(t.TempDir(), "one"), "content")
	var archive bytes.Buffer
	require.NoError(t, s.GetTree(within(t, 5*time.Second), path, &archive))
	tr := tar.NewReader(&archive)
	hdr, err := tr.Next()
	require.NoError(t, err)
	require.Equal(t, "one", hdr.Name)
	_, err = tr.Next()
	require.Equal(t, io.EOF, err)
	require.ErrorIs(t, s.GetTree(within(t, 5*time.Second), path+"x", io.Discard), fs.ErrNotExist)
}

// TestPutTreeStaysInside unpacks entries that go through a symbolic link that
// the archive itself brings.
func TestPutTreeStaysInside(t *testing.T) {
	for name, entries := range map[string][]tar.Header{
		"file through a link": {
			{Typeflag: tar.TypeSymlink, Name: "link", Linkname: "../outside"},
			{Typeflag: tar.TypeReg, Name: "link/file"},
		},
		"folder through a link": {
			{Typeflag: tar.TypeSymlink, Name: "link", Linkname: "../outside"},
			{Typeflag: tar.TypeDir, Name: "link/dir"},
		},
		"hard link through a link": {
			{Typeflag: tar.TypeSymlink, Name: "link", Linkname: "../outside"},
			{Typeflag: tar.TypeLink, Name: "hard", Linkname: "link/secret"},
		},
		"folder's mode through a link": {
			{Typeflag: tar.TypeDir, Name: "dir", Mode: 0o700},
			{Typeflag: tar.TypeSymlink, Name: "link", Linkname: "../outside"},
			{Typeflag: tar.TypeDir, Name: "link", Mode: 0o777},
		},
	} {
		t.Run(name, func(t *testing.T) {
			base := t.TempDir()
			write(t, filepath.Join(base, "outside", "secret"), "secret")
			var archive bytes.Buffer
			tw := tar.NewWriter(&archive)
			for _, hdr := range entries {
				require.NoError(t, tw.WriteHeader(&hdr))
			}
			require.NoError(t, tw.Close())
			require.Error(t, connect(t).PutTree(within(t, 5*time.Second), filepath.Join(base, "inside"), &archive))
			left, err := os.ReadDir(filepath.Join(base, "outside"))
			require.NoError(t, err)
			require.Len(t, left, 1)
			info, err := os.Stat(filepath.Join(base, "outside"))
			require.NoError(t, err)
			require.Equal(t, fs.FileMode(0o755), info.Mode().Perm())
			require.NoFileExists(t, filepath.Join(base, "inside", "hard"))
		})
	}
}

func TestPutTreeReplacesALinkInsteadOfFollowingIt(t *testing.T) {
	base := t.TempDir()
	outside := write(t, filepath.Join(base, "outside"), "keep")
	require.NoError(t, os.Mkdir(filepath.Join(base, "inside"), 0o755))
	require.NoError(t, os.Symlink(outside, filepath.Join(base, "inside", "file")))
	var archive bytes.Buffer
	tw := tar.NewWriter(&archive)
	require.NoError(t, tw.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "file", Mode: 0o600, Size: 3}))
	tw.Write([]byte("new"))
	require.NoError(t, tw.Close())
	require.NoError(t, connect(t).PutTree(within(t, 5*time.Second), filepath.Join(base, "inside"), &archive))
	text, err := os.ReadFile(outside)
	require.NoError(t, err)
	require.Equal(t, "keep", string(text))
}
