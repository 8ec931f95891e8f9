//go:build linux

package initramfs

import (
	"bytes"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/maqet/maqet/errors"
)

func TestUsersFiles(t *testing.T) {
	dir := t.TempDir()
	put(t, filepath.Join(dir, "sub/data"), []byte("data"))
	require.NoError(t, os.Chmod(filepath.Join(dir, "sub/data"), 0o640))
	require.NoError(t, os.Symlink("sub/data", filepath.Join(dir, "link")))
	script := put(t, filepath.Join(t.TempDir(), "script"), []byte("#!/bin/sh\n"))
	require.NoError(t, os.Chmod(script, 0o755))
	archive, err := Builder{
		Init: staticInit(t), Busybox: "none", CacheDir: t.TempDir(),
		Files: map[string]string{"/opt/dir": dir, "/usr/bin/script": script, "/etc/hostname": script},
	}.Build(t.Context())
	require.NoError(t, err)
	got := unpack(t, archive)
	require.Equal(t, "data", got["opt/dir/sub/data"].text)
	require.EqualValues(t, unix.S_IFREG|0o640, got["opt/dir/sub/data"].Mode)
	require.Equal(t, "sub/data", got["opt/dir/link"].text)
	require.EqualValues(t, unix.S_IFREG|0o755, got["bin/script"].Mode, "/usr/bin is /bin")
	require.Equal(t, "#!/bin/sh\n", got["etc/hostname"].text, "the user's come last")
}

func TestUsersFilesThatCantBeAdded(t *testing.T) {
	file := put(t, filepath.Join(t.TempDir(), "f"), []byte("x"))
	pipe := filepath.Join(t.TempDir(), "pipe")
	require.NoError(t, unix.Mkfifo(pipe, 0o600))
	for name, files := range map[string]map[string]string{
		"relative":     {"etc/x": file},
		"root":         {"/": file},
		"missing":      {"/x": file + "-none"},
		"pipe":         {"/x": pipe},
		"file as dir":  {"/init/x": file},
		"dir as file":  {"/etc": file},
		"through link": {"/usr/bin": file},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Builder{Init: staticInit(t), Busybox: "none", CacheDir: t.TempDir(), Files: files}.Build(t.Context())
			require.ErrorIs(t, err, errors.ErrInvalidConfiguration)
		})
	}
}

func TestPathsStayInTheArchive(t *testing.T) {
	file := put(t, filepath.Join(t.TempDir(), "f"), []byte("x"))
	archive, err := Builder{
		Init: staticInit(t), Busybox: "none", CacheDir: t.TempDir(),
		Files: map[string]string{"/../../opt/../x": file},
	}.Build(t.Context())
	require.NoError(t, err)
	require.Equal(t, "x", unpack(t, archive)["x"].text)
}

func TestDynamicProgramBringsItsLibraries(t *testing.T) {
	tool := hostTool(t)
	archive, err := Builder{
		Init: staticInit(t), Busybox: "none", CacheDir: t.TempDir(), Files: map[string]string{"/opt/tool": tool},
	}.Build(t.Context())
	require.NoError(t, err)

	// The dynamic linker itself says what the program loads.
	text, err := exec.Command("ldd", tool).Output()
	require.NoError(t, err)
	got := unpack(t, archive)
	libs := 0
	for line := range strings.Lines(string(text)) {
		for _, word := range strings.Fields(line) {
			if path.IsAbs(word) {
				p, err := resolve(word)
				require.NoError(t, err)
				require.Contains(t, got, p)
				libs++
			}
		}
	}
	require.Positive(t, libs)
}

func TestLibraryThatIsMissing(t *testing.T) {
	data, err := os.ReadFile(hostTool(t))
	require.NoError(t, err)
	tool := put(t, filepath.Join(t.TempDir(), "tool"), bytes.ReplaceAll(data, []byte("libc.so.6"), []byte("libq.so.6")))
	_, err = Builder{
		Init: staticInit(t), Busybox: "none", CacheDir: t.TempDir(), Files: map[string]string{"/opt/tool": tool},
	}.Build(t.Context())
	require.ErrorIs(t, err, errors.ErrInvalidConfiguration)
	require.ErrorContains(t, err, "libq.so.6")
	require.ErrorContains(t, err, tool)
}
