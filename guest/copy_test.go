package guest_test

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/guest"
)

func TestFiles(t *testing.T) {
	bothWays(t, func(t *testing.T, _ *fakeVM, m *guest.Manager) {
		file := filepath.Join(t.TempDir(), "a 'file'")
		data := []byte(strings.Repeat("0123456789", 100_000))
		require.NoError(t, m.WriteFile(soon(t), "box", file, data, 0o640))
		info, err := os.Stat(file)
		require.NoError(t, err)
		require.Equal(t, fs.FileMode(0o640), info.Mode().Perm())
		got, err := m.ReadFile(soon(t), "box", file)
		require.NoError(t, err)
		require.Equal(t, data, got)

		require.NoError(t, m.WriteFile(soon(t), "box", file, nil, 0o600))
		got, err = m.ReadFile(soon(t), "box", file)
		require.NoError(t, err)
		require.Empty(t, got)

		got, err = m.ReadFile(soon(t), "box", "/proc/self/status")
		require.NoError(t, err)
		require.Contains(t, string(got), "State:")
		null, err := os.Stat(os.DevNull)
		require.NoError(t, err)
		require.NoError(t, m.WriteFile(soon(t), "box", os.DevNull, data, 0o600))
		now, err := os.Stat(os.DevNull)
		require.NoError(t, err)
		require.Equal(t, null.Mode(), now.Mode(), "a device stays as it is")

		_, err = m.ReadFile(soon(t), "box", file+".not")
		require.ErrorIs(t, err, fs.ErrNotExist)
		require.ErrorIs(t, err, errors.ErrGuest)
		require.ErrorIs(t, m.WriteFile(soon(t), "box", file+".not/x", data, 0o600), fs.ErrNotExist)
		require.ErrorIs(t, m.WriteFile(soon(t), "box", "", data, 0o600), fs.ErrInvalid)
		left, err := os.ReadDir(filepath.Dir(file))
		require.NoError(t, err)
		require.Len(t, left, 1)
	})
}

// makeTree makes a tree with everything that is copied, and returns what describe says
// of it.
func makeTree(t *testing.T, root string) []string {
	t.Helper()
	when := time.Date(2020, 2, 3, 4, 5, 6, 0, time.UTC)
	long := strings.Repeat("long", 50)
	require.NoError(t, os.MkdirAll(filepath.Join(root, "sub", long), 0o755))
	files := map[string]fs.FileMode{"a": 0o644, "sub/-x": 0o755, "sub/" + long + "/" + long: 0o600, "empty": 0o444}
	for name, mode := range files {
		at := filepath.Join(root, name)
		require.NoError(t, os.WriteFile(at, []byte(name), 0o600))
		require.NoError(t, os.Chmod(at, mode))
		require.NoError(t, os.Chtimes(at, when, when))
	}
	require.NoError(t, os.Symlink("/etc/../nowhere", filepath.Join(root, "sub", "link")))
	require.NoError(t, os.Chmod(filepath.Join(root, "sub"), 0o750))
	return describe(t, root)
}

// describe lists a tree: path, mode, time of files, content.
func describe(t *testing.T, root string) (list []string) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		require.NoError(t, err)
		info, err := d.Info()
		require.NoError(t, err)
		rel, err := filepath.Rel(root, file)
		require.NoError(t, err)
		line := rel + " " + info.Mode().String()
		switch {
		case info.Mode().IsRegular():
			text, err := os.ReadFile(file)
			require.NoError(t, err)
			line += fmt.Sprint(" ", info.ModTime().Unix(), " ", string(text))
		case info.Mode()&fs.ModeSymlink != 0:
			target, err := os.Readlink(file)
			require.NoError(t, err)
			line += " " + target
		}
		list = append(list, line)
		return nil
	}))
	return list
}

func TestCopyTree(t *testing.T) {
	bothWays(t, func(t *testing.T, _ *fakeVM, m *guest.Manager) {
		host, inGuest, back := t.TempDir(), t.TempDir(), t.TempDir()
		tree := filepath.Join(host, "tree")
		want := makeTree(t, tree)
		require.NoError(t, syscall.Mkfifo(filepath.Join(tree, "pipe"), 0o600)) // left out

		require.NoError(t, m.CopyTo(soon(t), "box", tree, inGuest+"/new"))
		require.Equal(t, want, describe(t, inGuest+"/new"))
		require.NoError(t, m.CopyTo(soon(t), "box", tree, inGuest))
		require.Equal(t, want, describe(t, inGuest+"/tree"), "into an existing folder")

		require.NoError(t, m.CopyFrom(soon(t), "box", inGuest+"/new", filepath.Join(back, "copy")))
		require.Equal(t, want, describe(t, filepath.Join(back, "copy")))
		require.NoError(t, m.CopyFrom(soon(t), "box", inGuest+"/new/", back))
		require.Equal(t, want, describe(t, filepath.Join(back, "new")), "into an existing folder")

		// Again, into what is there: other files stay, those of the same name are replaced.
		require.NoError(t, os.WriteFile(filepath.Join(back, "new", "a"), []byte("old"), 0o600))
		require.NoError(t, os.WriteFile(filepath.Join(back, "new", "mine"), []byte("mine"), 0o600))
		require.NoError(t, m.CopyFrom(soon(t), "box", inGuest+"/new", back))
		got := describe(t, filepath.Join(back, "new"))
		require.Subset(t, got, want[1:])
		require.Len(t, got, len(want)+1)
		requireEntries(t, back, "copy", "new")
	})
}

func TestCopyFile(t *testing.T) {
	bothWays(t, func(t *testing.T, _ *fakeVM, m *guest.Manager) {
		host, inGuest := t.TempDir(), t.TempDir()
		file := filepath.Join(host, "file")
		require.NoError(t, os.WriteFile(file, []byte("text"), 0o600))
		require.NoError(t, os.Chmod(file, 0o751))
		require.NoError(t, os.Symlink("file", filepath.Join(host, "link")))

		require.NoError(t, m.CopyTo(soon(t), "box", file, inGuest+"/as"))
		require.NoError(t, m.CopyTo(soon(t), "box", file, inGuest+"/"))
		require.NoError(t, m.CopyTo(soon(t), "box", filepath.Join(host, "link"), inGuest), "a link is followed")
		requireEntries(t, inGuest, "as", "file", "link")
		for _, name := range []string{"as", "file", "link"} {
			require.Equal(t, describe(t, file), describe(t, filepath.Join(inGuest, name)))
		}
		back := filepath.Join(t.TempDir(), "back")
		require.NoError(t, os.WriteFile(back, []byte("old"), 0o600))
		require.NoError(t, m.CopyFrom(soon(t), "box", inGuest+"/as", back))
		require.Equal(t, describe(t, file), describe(t, back))
	})
}

func TestCopyRefusals(t *testing.T) {
	bothWays(t, func(t *testing.T, _ *fakeVM, m *guest.Manager) {
		host, inGuest := t.TempDir(), t.TempDir()
		file := filepath.Join(host, "file")
		require.NoError(t, os.WriteFile(file, nil, 0o600))
		require.NoError(t, os.Mkdir(filepath.Join(host, "dir"), 0o700))
		require.NoError(t, os.Mkdir(filepath.Join(inGuest, "file"), 0o700))

		require.ErrorIs(t, m.CopyTo(soon(t), "box", host+"/not", inGuest), fs.ErrNotExist)
		require.ErrorIs(t, m.CopyTo(soon(t), "box", file, inGuest+"/no/parent"), fs.ErrNotExist)
		require.ErrorIs(t, m.CopyTo(soon(t), "box", file, inGuest+"/new/"), fs.ErrNotExist)
		require.ErrorIs(t, m.CopyFrom(soon(t), "box", inGuest+"/not", host), fs.ErrNotExist)
		require.ErrorIs(t, m.CopyFrom(soon(t), "box", inGuest, host+"/no/parent"), fs.ErrNotExist)
		require.ErrorIs(t, m.CopyFrom(soon(t), "box", inGuest+"/file", host), fs.ErrExist, "a folder in place of a file")
		require.ErrorIs(t, m.CopyFrom(soon(t), "box", "/", host), fs.ErrInvalid)
		require.Error(t, m.CopyFrom(soon(t), "box", "/dev/null", host+"/null"))
		requireEntries(t, host, "dir", "file")
		requireEntries(t, inGuest, "file")
	})
}

// TestCopyCancelled cancels a large copy under way: neither side keeps anything of it.
func TestCopyCancelled(t *testing.T) {
	bothWays(t, func(t *testing.T, _ *fakeVM, m *guest.Manager) {
		host, inGuest := t.TempDir(), t.TempDir()
		large := filepath.Join(inGuest, "large")
		require.NoError(t, os.WriteFile(large, nil, 0o600))
		require.NoError(t, os.Truncate(large, 4<<30))
		require.NoError(t, m.Ping(soon(t), "box"))
		ctx, cancel := context.WithTimeout(soon(t), 100*time.Millisecond)
		defer cancel()
		start := time.Now()
		require.ErrorIs(t, m.CopyFrom(ctx, "box", large, host), context.DeadlineExceeded)
		require.Less(t, time.Since(start), 2*time.Second)
		requireEntries(t, host)

		ctx, cancel = context.WithTimeout(soon(t), 100*time.Millisecond)
		defer cancel()
		start = time.Now()
		require.ErrorIs(t, m.CopyTo(ctx, "box", large, inGuest+"/copy"), context.DeadlineExceeded)
		require.Less(t, time.Since(start), 2*time.Second)
		require.Eventually(t, func() bool {
			_, err := os.Lstat(inGuest + "/copy")
			return errors.Is(err, fs.ErrNotExist)
		}, 5*time.Second, 10*time.Millisecond)
	})
}

func requireEntries(t *testing.T, dir string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	got := []string{}
	for _, e := range entries {
		got = append(got, e.Name())
	}
	require.ElementsMatch(t, want, got)
}
