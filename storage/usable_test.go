package storage_test

import (
	"bufio"
	"encoding/binary"
	"os"
	"os/exec"
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

// chainOf makes an image over one over one, and returns their paths, the topmost first.
func chainOf(t testing.TB, m *storage.Manager, dir string) []string {
	t.Helper()
	base, err := m.Create(t.Context(), storage.CreateSpec{Path: filepath.Join(dir, "base.raw"), Format: storage.FormatRaw, Size: mib})
	require.NoError(t, err)
	middle, err := m.Overlay(t.Context(), storage.OverlaySpec{Path: filepath.Join(dir, "middle"), Base: base.Path, BaseFormat: storage.FormatRaw})
	require.NoError(t, err)
	top, err := m.Overlay(t.Context(), storage.OverlaySpec{Path: filepath.Join(dir, "top"), Base: middle.Path, BaseFormat: storage.FormatQcow2})
	require.NoError(t, err)
	return []string{top.Path, middle.Path, base.Path}
}

func paths(images []storage.Image) (out []string) {
	for _, i := range images {
		out = append(out, i.Path)
	}
	return out
}

// unusable returns the error of an image that can't be used.
func unusable(t *testing.T, m *storage.Manager, path, format string, write bool) *storage.ImageError {
	t.Helper()
	_, err := m.Usable(t.Context(), path, format, write)
	var bad *storage.ImageError
	require.ErrorAs(t, err, &bad, path)
	require.ErrorIs(t, err, errors.ErrStorage)
	require.Contains(t, bad.Error(), bad.Path)
	require.NotEmpty(t, bad.Fix, bad)
	return bad
}

func TestUsableChain(t *testing.T) {
	m, root := manage(t)
	chain := chainOf(t, m, root)
	images, err := m.Usable(t.Context(), chain[0], storage.FormatQcow2, true)
	require.NoError(t, err)
	require.Equal(t, chain, paths(images))

	require.NoError(t, os.Rename(chain[2], chain[2]+".away"))
	bad := unusable(t, m, chain[0], storage.FormatQcow2, true)
	require.ErrorIs(t, bad, errors.ErrImageNotFound)
	require.Equal(t, chain[2], bad.Path)
	require.Equal(t, chain, bad.Chain)
	require.Contains(t, bad.Error(), `does not exist; the chain is "`+strings.Join(chain, `" over "`)+`"`)

	qemuImg(t, "create", "-q", "-f", "qcow2", chain[2], "1M")
	bad = unusable(t, m, chain[0], storage.FormatQcow2, false)
	var format *storage.FormatError
	require.ErrorAs(t, bad, &format)
	require.Equal(t, chain[2], format.Path)
	require.Contains(t, bad.Error(), "stated to be raw")
}

// TestRelativeBase: the base is looked for beside the image, as QEMU does.
func TestRelativeBase(t *testing.T) {
	m, _ := manage(t)
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "base.raw"), strings.Repeat("x", mib))
	top := filepath.Join(dir, "top")
	qemuImg(t, "create", "-q", "-f", "qcow2", "-b", "base.raw", "-F", "raw", top)
	t.Chdir(dir)
	images, err := m.Usable(t.Context(), "top", storage.FormatQcow2, true)
	require.NoError(t, err)
	require.Equal(t, []string{top, filepath.Join(dir, "base.raw")}, paths(images))
}

// TestUnusable: what QEMU would refuse, guess or misread.
func TestUnusable(t *testing.T) {
	m, root := manage(t)
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	raw := writeFile(t, at("base.raw"), strings.Repeat("x", mib))
	create := func(name string, args ...string) string {
		qemuImg(t, append(append([]string{"create", "-q", "-f", "qcow2"}, args...), at(name), "1M")...)
		return at(name)
	}
	patch := func(path string, offset int64, value uint64) string {
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		require.NoError(t, err)
		_, err = f.WriteAt(binary.BigEndian.AppendUint64(nil, value), offset)
		require.NoError(t, err)
		require.NoError(t, f.Close())
		return path
	}
	const ( // where a header has the features, its first extension, and there the name of a feature
		incompatible = 72
		extension    = 112
		fourthName   = extension + 8 + 3*48
	)
	secret := []string{"--object", "secret,id=k,data=x", "-o", "encrypt.format=aes,encrypt.key-secret=k"}
	loop := create("loop")
	qemuImg(t, "rebase", "-u", "-f", "qcow2", "-b", loop, "-F", "qcow2", loop)
	for says, path := range map[string]string{
		"is encrypted":                           create("encrypted", secret...),
		`in another file ("` + at("data") + `")`: create("external", "-o", "data_file="+at("data")),
		"not known: number 40":                   patch(create("future"), incompatible, 1<<40),
		"not known: compression type":            patch(patch(create("named"), incompatible, 1<<41), fourthName, 0x0029<<48|0x636f6d707265), // type 0, bit 41, "compre"
		"is marked as corrupt":                   patch(create("corrupt"), incompatible, 2),
		"does not say which format":              patch(create("guessed", "-b", raw, "-F", "raw"), extension, 1<<32|3),
		"is no file":                             createOver(t, at("remote"), "nbd:unix:/nowhere", "raw"),
		`format "vmdk"`:                          createOver(t, at("strange"), raw, "vmdk"),
		"below itself":                           loop,
		"is a folder":                            createOver(t, at("folder"), dir, "raw"),
	} {
		bad := unusable(t, m, path, storage.FormatQcow2, false)
		require.Contains(t, bad.Error(), says)
	}
	requireEmpty(t, root)
}

// createOver makes an image whose base need not be there.
func createOver(t *testing.T, path, base, format string) string {
	t.Helper()
	qemuImg(t, "create", "-q", "-u", "-f", "qcow2", "-b", base, "-F", format, path, "1M")
	return path
}

// TestReadOnlyFile: what the user must not write is no writable disk.
func TestReadOnlyFile(t *testing.T) {
	if os.Geteuid() != 0 {
		testhost.Lacks(t, "acting as another user needs root")
	}
	m, _ := manageWith(t, nil)
	dir := t.TempDir()
	path := writeFile(t, filepath.Join(dir, "disk.raw"), "abc")
	require.NoError(t, os.Chmod(path, 0o444))
	require.NoError(t, os.Chmod(dir, 0o755))
	require.NoError(t, os.Chmod(filepath.Dir(dir), 0o755))
	runtime.LockOSThread() // only this thread's file accesses are made by nobody (setfsuid(2))
	defer runtime.UnlockOSThread()
	_, err := unix.SetfsuidRetUid(65534)
	require.NoError(t, err)
	_, readErr := m.Usable(t.Context(), path, storage.FormatRaw, false)
	_, writeErr := m.Usable(t.Context(), path, storage.FormatRaw, true)
	_, err = unix.SetfsuidRetUid(0)
	require.NoError(t, err)
	require.NoError(t, readErr)
	require.ErrorIs(t, writeErr, os.ErrPermission)
	require.ErrorContains(t, writeErr, "can't be written: permission denied")
	require.ErrorContains(t, writeErr, "overlay")
}

// hold has a qemu-io open the image until the test ends, and returns its PID.
func hold(t *testing.T, args ...string) int {
	t.Helper()
	needQemuIO(t)
	cmd := exec.Command("qemu-io", args...)
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		require.NoError(t, in.Close())
		_ = cmd.Wait() // the end of its input ends it
	})
	_, err = in.Write([]byte("length\n")) // answered once the image is open
	require.NoError(t, err)
	_, err = bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	return cmd.Process.Pid
}

// requireHeld fails unless an error says that a process uses an image.
func requireHeld(t *testing.T, err error, path string, pid int) {
	t.Helper()
	require.ErrorIs(t, err, errors.ErrImageInUse)
	var bad *storage.ImageError
	require.ErrorAs(t, err, &bad)
	require.Equal(t, path, bad.Path)
	var pids []int
	for _, h := range bad.Holders {
		pids = append(pids, h.PID)
	}
	require.Contains(t, pids, pid)
	require.ErrorContains(t, err, "qemu-io (PID "+itoa(pid)+")")
}

// requireNotOpened fails if a QEMU program can open a raw image for writing.
func requireNotOpened(t *testing.T, path string) {
	t.Helper()
	out, err := exec.Command("qemu-io", "-f", "raw", "-c", "length", path).CombinedOutput()
	require.Error(t, err, "%s", out)
}

// TestInUse: a program that writes to an image, or to one below it, is named.
func TestInUse(t *testing.T) {
	m, root := manage(t)
	chain := chainOf(t, m, root)
	_, err := m.Usable(t.Context(), chain[0], storage.FormatQcow2, true)
	require.NoError(t, err)
	pid := hold(t, "-f", "raw", chain[2])
	for _, c := range []struct {
		path, format string
		write        bool
		chain        int
	}{
		{chain[2], storage.FormatRaw, true, 1}, {chain[2], storage.FormatRaw, false, 1}, {chain[0], storage.FormatQcow2, true, 3},
	} {
		bad := unusable(t, m, c.path, c.format, c.write)
		require.ErrorIs(t, bad, errors.ErrImageInUse)
		require.Equal(t, []storage.Holder{{PID: pid, Program: "qemu-io"}}, bad.Holders)
		require.Len(t, bad.Chain, c.chain)
		require.Contains(t, bad.Error(), "is being written by qemu-io (PID ")
		require.Contains(t, bad.Problem(func(int) string { return `VM "web"` }), `by VM "web" (PID `)
	}
	_, err = m.Inspect(t.Context(), chain[0], storage.FormatQcow2)
	require.NoError(t, err, "to look does no harm")
}

// TestReaders: several may read an image that a guest reads, and nobody writes to it.
func TestReaders(t *testing.T) {
	m, _ := manageWith(t, nil)
	path := writeFile(t, filepath.Join(t.TempDir(), "disk"), "abc")
	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	// As a QEMU does that does not let others write.
	lock := unix.Flock_t{Type: unix.F_RDLCK, Start: 201, Len: 1}
	require.NoError(t, unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &lock))
	_, err = m.Usable(t.Context(), path, storage.FormatRaw, false)
	require.NoError(t, err)
	bad := unusable(t, m, path, storage.FormatRaw, true)
	require.ErrorIs(t, bad, errors.ErrImageInUse)
	require.Equal(t, os.Getpid(), bad.Holders[0].PID)
	require.Contains(t, bad.Error(), "is in use by "+bad.Holders[0].Program)
}

// TestBlockDevice: one of the host's is an image, unless the host itself uses it.
func TestBlockDevice(t *testing.T) {
	m, _ := manage(t)
	backing := writeFile(t, filepath.Join(t.TempDir(), "disk"), strings.Repeat("\x00", 8*mib))
	out, err := exec.Command("losetup", "--find", "--show", backing).Output()
	if err != nil {
		testhost.Lacks(t, "a loop device can't be had:", err)
	}
	device := strings.TrimSpace(string(out))
	t.Cleanup(func() { require.NoError(t, exec.Command("losetup", "--detach", device).Run()) })
	images, err := m.Usable(t.Context(), device, storage.FormatRaw, true)
	require.NoError(t, err)
	require.Equal(t, storage.Image{Path: device, Format: "raw", Size: 8 * mib, Allocated: 8 * mib, Device: true}, images[0])

	taken, err := os.OpenFile(device, os.O_RDWR|os.O_EXCL, 0) // as mount(2) does
	require.NoError(t, err)
	defer taken.Close()
	bad := unusable(t, m, device, storage.FormatRaw, true)
	require.ErrorIs(t, bad, errors.ErrImageInUse)
	require.Contains(t, bad.Error(), "in use by this host")
	_, err = m.Usable(t.Context(), device, storage.FormatRaw, false)
	require.NoError(t, err)
}

// BenchmarkUsable looks at three images over each other.
func BenchmarkUsable(b *testing.B) {
	m, root := manage(b)
	chain := chainOf(b, m, root)
	for b.Loop() {
		if _, err := m.Usable(b.Context(), chain[0], storage.FormatQcow2, true); err != nil {
			b.Fatal(err)
		}
	}
}
