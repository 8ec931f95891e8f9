//go:build linux

package initramfs

import (
	"bytes"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"
	"github.com/u-root/u-root/pkg/cpio"
	"github.com/ulikunitz/xz"
)

// settle waits until the files of a fixture are old enough for the cache to rely on.
func settle() { time.Sleep(80 * time.Millisecond) }

// fakeModule returns a relocatable ELF file with a section .modinfo of these texts.
func fakeModule(info ...string) []byte {
	text := strings.Join(info, "\x00") + "\x00"
	const names = "\x00.modinfo\x00.shstrtab\x00"
	var b bytes.Buffer
	put := func(values ...any) {
		for _, v := range values {
			binary.Write(&b, binary.LittleEndian, v)
		}
	}
	const head = 64
	strtab := head + len(text)
	sections := strtab + len(names)
	b.WriteString("\x7fELF\x02\x01\x01" + string(make([]byte, 9)))
	put(uint16(1), uint16(62), uint32(1), uint64(0), uint64(0), uint64(sections), uint32(0),
		uint16(head), uint16(0), uint16(0), uint16(64), uint16(3), uint16(2))
	b.WriteString(text + names)
	put([8]uint64{})
	put(uint32(1), uint32(1), uint64(2), uint64(0), uint64(head), uint64(len(text)), uint32(0), uint32(0), uint64(1), uint64(0))
	put(uint32(10), uint32(3), uint64(0), uint64(0), uint64(strtab), uint64(len(names)), uint32(0), uint32(0), uint64(1), uint64(0))
	return b.Bytes()
}

// fakeModules makes a folder of modules whose virtio needs what the real one does.
func fakeModules(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "lib/modules/6.1.0-test")
	drivers := filepath.Join(dir, "kernel/drivers")
	put(t, filepath.Join(drivers, "virtio.ko"), fakeModule("name=virtio", "depends=virtio_ring"))
	put(t, filepath.Join(drivers, "virtio_ring.ko.xz"), compress(t, "xz", fakeModule("depends=")))
	put(t, filepath.Join(drivers, "virtio_pci.ko.zst"), compress(t, "zst", fakeModule("depends=virtio,virtio_ring", "alias=pci:v00001AF4d*sv*sd*bc*sc*i*")))
	put(t, filepath.Join(drivers, "virtio_console.ko.gz"), compress(t, "gz", fakeModule("depends=virtio,virtio_ring", "alias=virtio:d00000003v*")))
	put(t, filepath.Join(drivers, "virtio_blk.ko"), fakeModule("depends=virtio,builtin-one", "alias=virtio:d00000002v*", "softdep=pre: virtio-rng no_such post: virtio_console"))
	put(t, filepath.Join(drivers, "virtio-rng.ko"), fakeModule("depends=virtio", "alias=virtio:d00000004v*"))
	put(t, filepath.Join(drivers, "extra.ko"), fakeModule("depends=", "alias=fs-extra", "alias=platform:extra"))
	put(t, filepath.Join(drivers, "unrelated.ko"), fakeModule("depends=no_such"))
	put(t, filepath.Join(dir, "modules.builtin"), []byte("kernel/builtin-one.ko\n"))
	settle()
	return dir
}

func compress(t *testing.T, kind string, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	var z interface {
		Write([]byte) (int, error)
		Close() error
	}
	var err error
	switch kind {
	case "xz":
		z, err = xz.NewWriter(&b)
	case "zst":
		z, err = zstd.NewWriter(&b)
	default:
		z = gzip.NewWriter(&b)
	}
	require.NoError(t, err)
	_, err = z.Write(data)
	require.NoError(t, err)
	require.NoError(t, z.Close())
	return b.Bytes()
}

func put(t *testing.T, path string, data []byte) string {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
	require.NoError(t, os.WriteFile(path, data, 0o600))
	return path
}

// record is an entry of an archive with its content.
type record struct {
	cpio.Info
	text string
}

// unpack reads an archive.
func unpack(t *testing.T, path string) map[string]record {
	t.Helper()
	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	all, err := cpio.ReadAllRecords(cpio.Newc.Reader(f))
	require.NoError(t, err)
	out := map[string]record{}
	seen := map[string]bool{".": true}
	for _, r := range all {
		require.True(t, seen[filepath.Dir(r.Name)], "the folder of %s must come before it", r.Name)
		seen[r.Name] = true
		require.Zero(t, r.MTime)
		require.Zero(t, r.UID)
		data := make([]byte, r.FileSize)
		if r.FileSize > 0 {
			_, err := r.ReadAt(data, 0)
			require.NoError(t, err)
		}
		out[r.Name] = record{r.Info, string(data)}
	}
	return out
}

// staticInit is any file: the archive does not look at it.
func staticInit(t *testing.T) string {
	return put(t, filepath.Join(t.TempDir(), "init"), []byte("#!init"))
}

// hostTool returns the path of a dynamically linked program, which tests bring along.
func hostTool(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("ls")
	require.NoError(t, err)
	path, err = filepath.EvalSymlinks(path)
	require.NoError(t, err)
	if ok, err := isStatic(path); err != nil || ok {
		t.Skip("ls of this host is not linked dynamically")
	}
	return path
}
