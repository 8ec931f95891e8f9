package storage_test

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/maqet/maqet/internal/testhost"
	"github.com/maqet/maqet/storage"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(dyingIn); dir != "" {
		dieMaking(dir, os.Getenv(dyingAt))
		os.Exit(0)
	}
	if text := os.Getenv(envWork); text != "" {
		if err := doWork(text); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

const mib = 1 << 20

// manage returns a manager that runs the real qemu-img, and its root folder.
func manage(t testing.TB) (*storage.Manager, string) {
	t.Helper()
	if _, err := exec.LookPath("qemu-img"); err != nil {
		testhost.Lacks(t, "qemu-img is missing: install qemu-utils:", err)
	}
	return manageWith(t, nil)
}

func manageWith(t testing.TB, r storage.Runner) (*storage.Manager, string) {
	t.Helper()
	root := filepath.Join(t.TempDir(), "images")
	m, err := storage.NewManager(storage.Options{Root: root, Runner: r})
	require.NoError(t, err)
	return m, root
}

// runner is a qemu-img that does what the test says.
type runner func(ctx context.Context, args ...string) ([]byte, error)

func (r runner) Run(ctx context.Context, args ...string) ([]byte, error) { return r(ctx, args...) }

// requireEmpty fails if there is any file in dir or below it.
func requireEmpty(t *testing.T, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			t.Errorf("%s was left behind", path)
		}
		return nil
	})
	require.NoError(t, err)
}

// qemuImg runs qemu-img for a test's own purposes.
func qemuImg(t testing.TB, args ...string) string {
	t.Helper()
	out, err := runImg(args...)
	require.NoError(t, err, "%s", out)
	return string(out)
}

func runImg(args ...string) ([]byte, error) {
	return exec.Command("qemu-img", args...).CombinedOutput()
}

// qemuIO reads and writes images as QEMU does.
func qemuIO(t testing.TB, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath("qemu-io"); err != nil {
		testhost.Lacks(t, "qemu-io is missing: install qemu-utils:", err)
	}
	out, err := exec.Command("qemu-io", args...).CombinedOutput()
	require.NoError(t, err, "%s", out)
	return string(out)
}

func needQemuIO(t testing.TB) {
	t.Helper()
	if _, err := exec.LookPath("qemu-io"); err != nil {
		testhost.Lacks(t, "qemu-io is missing: install qemu-utils:", err)
	}
}

func itoa(n int) string { return strconv.Itoa(n) }

func runIO(args ...string) ([]byte, error) { return exec.Command("qemu-io", args...).CombinedOutput() }

func writeFile(t *testing.T, path, content string) string {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
	require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
	return path
}

// oddNames are file names that could be taken for something else.
var oddNames = []string{
	"a,b.img", "a:b.img", "nbd:localhost:1", "json:{}", "file:x", "-o", "--help", "a b", "a\nb", "a%sb", "a=b,backing_file=c",
	"ä", "'quoted'", `back\slash`, "fat:rw:x", strings.Repeat("x", 200),
}

func ExampleManager_Overlay() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	images, err := storage.NewManager(storage.Options{Root: dir})
	if err != nil {
		fmt.Println(err)
		return
	}

	base, err := images.Create(ctx, storage.CreateSpec{Path: filepath.Join(dir, "base.raw"), Format: storage.FormatRaw, Size: 1 << 30})
	if err != nil {
		fmt.Println(err)
		return
	}
	disk, err := images.Overlay(ctx, storage.OverlaySpec{
		Path: filepath.Join(dir, "web", "disk0.qcow2"), Base: base.Path, BaseFormat: base.Format,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(disk.Format, disk.Size, filepath.Base(disk.Base))
	if err := images.Delete(ctx, disk.Path); err != nil {
		fmt.Println(err)
	}
	// Output: qcow2 1073741824 base.raw
}

func ExampleManager_Inspect() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	images, err := storage.NewManager(storage.Options{Root: dir})
	if err != nil {
		fmt.Println(err)
		return
	}
	disk := filepath.Join(dir, "disk.raw")
	if err := os.WriteFile(disk, make([]byte, 4096), 0o600); err != nil {
		fmt.Println(err)
		return
	}
	img, err := images.Inspect(context.Background(), disk, storage.FormatRaw)
	fmt.Println(img.Size, err)
	_, err = images.Inspect(context.Background(), disk, storage.FormatQcow2)
	fmt.Println(err != nil)
	// Output:
	// 4096 <nil>
	// true
}
