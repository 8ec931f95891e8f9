package storage_test

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/storage"
)

// described is what "qemu-img info" says of an image, without what depends on the file.
func described(t require.TestingT, path string) map[string]any {
	out, err := runImg("info", "--output=json", "-f", "qcow2", path)
	require.NoError(t, err, "%s", out)
	var info map[string]any
	require.NoError(t, json.Unmarshal(out, &info))
	delete(info, "filename")
	delete(info, "actual-size")
	return info
}

// requireSound fails unless QEMU finds nothing wrong with an image, and no cluster that
// nothing needs.
func requireSound(t require.TestingT, path string) {
	out, err := runImg("check", "--output=json", "-f", "qcow2", path)
	require.NoError(t, err, "%s", out)
	var report map[string]any
	require.NoError(t, json.Unmarshal(out, &report))
	for _, bad := range []string{"leaks", "corruptions", "check-errors"} {
		require.Zero(t, report[bad], "%v: %s", bad, out)
	}
}

// maxQcow2 is the largest size with such clusters: QEMU's bound is 4 Mi entries of the L1 table.
func maxQcow2(cluster int64) int64 { return 4 << 20 * (cluster / 8 * cluster) }

// TestWrittenAsByQemuImg: whatever is asked for, what is written here is what qemu-img makes.
func TestWrittenAsByQemuImg(t *testing.T) {
	m, root := manage(t)
	dir := t.TempDir()
	bases := map[string]string{"": ""}
	for _, format := range []string{storage.FormatRaw, storage.FormatQcow2} {
		bases[format] = filepath.Join(dir, "base,of:"+format)
		qemuImg(t, "create", "-q", "-f", format, bases[format], "3584")
	}
	n := 0
	rapid.Check(t, func(t *rapid.T) {
		n++
		cluster := int64(512) << rapid.IntRange(0, 12).Draw(t, "cluster bits")
		// The L1 table has as many bits as the size, in the mean; qemu-img writes all of it.
		most := min(maxQcow2(cluster), cluster/8*cluster<<rapid.IntRange(0, 14).Draw(t, "table bits"))
		size := 512 * rapid.Int64Range(1, most/512).Draw(t, "sectors")
		format := rapid.SampledFrom([]string{"", storage.FormatRaw, storage.FormatQcow2}).Draw(t, "base")
		o := storage.Qcow2Options{ClusterSize: cluster, LazyRefcounts: rapid.Bool().Draw(t, "lazy"),
			Compression: rapid.SampledFrom([]string{"", storage.CompressionZlib, storage.CompressionZstd}).Draw(t, "compression")}
		ours, theirs := filepath.Join(root, fmt.Sprint(n)), filepath.Join(dir, fmt.Sprint(n))
		args := []string{"create", "-q", "-f", "qcow2", "-o", fmt.Sprintf("cluster_size=%d,lazy_refcounts=%t", cluster, o.LazyRefcounts)}
		if o.Compression != "" {
			args = append(args, "-o", "compression_type="+o.Compression)
		}
		var err error
		if base := bases[format]; base == "" {
			_, err = m.Create(t.Context(), storage.CreateSpec{Path: ours, Size: size, Options: o})
		} else {
			size = max(size, 3584)
			args = append(args, "-F", format, "-b", base)
			_, err = m.Overlay(t.Context(), storage.OverlaySpec{Path: ours, Base: base, BaseFormat: format, Size: size, Options: o})
		}
		require.NoError(t, err)
		out, err := runImg(append(args, theirs, fmt.Sprint(size))...)
		require.NoError(t, err, "%s", out)
		require.Equal(t, described(t, theirs), described(t, ours))
		requireSound(t, ours)
		require.NoError(t, os.Remove(theirs))
		require.NoError(t, m.Delete(t.Context(), ours))
	})
}

// TestLargestImages: the bounds are QEMU's, and an image at the bound takes hardly any space.
func TestLargestImages(t *testing.T) {
	m, root := manage(t)
	for _, cluster := range []int64{512, 4096, 64 << 10, 2 << 20} {
		path, most := filepath.Join(root, fmt.Sprint(cluster)), maxQcow2(cluster)
		spec := storage.CreateSpec{Path: path, Size: most, Options: storage.Qcow2Options{ClusterSize: cluster}}
		img, err := m.Create(t.Context(), spec)
		require.NoError(t, err)
		require.Equal(t, most, img.Size)
		require.Less(t, img.Allocated, int64(mib))
		require.EqualValues(t, most, described(t, path)["virtual-size"])
		requireSound(t, path)

		spec.Path, spec.Size = path+"+", most+512
		_, err = m.Create(t.Context(), spec)
		require.ErrorIs(t, err, errors.ErrImageCreation)
		require.ErrorContains(t, err, fmt.Sprintf("more than the %d bytes", most))
		out, err := runImg("create", "-q", "-f", "qcow2", "-o", fmt.Sprintf("cluster_size=%d", cluster), path+"-", fmt.Sprint(most+512))
		require.Error(t, err, "%s", out)
	}
}

// TestLongBaseNames: the header's cluster has to hold the name, and 1023 bytes are the most.
func TestLongBaseNames(t *testing.T) {
	m, root := manage(t)
	dir := t.TempDir()
	named := func(n int) string { // an absolute path of n bytes
		path := dir
		for n-len(path) > 250 {
			path += "/" + strings.Repeat("d", 200)
		}
		path += "/" + strings.Repeat("f", n-len(path)-1)
		return writeFile(t, path, strings.Repeat("x", 4096))
	}
	for cluster, most := range map[int64]int{512: 376, 1024: 888, 2048: 1023, 64 << 10: 1023} {
		o := storage.Qcow2Options{ClusterSize: cluster}
		top := filepath.Join(root, fmt.Sprint(cluster))
		_, err := m.Overlay(t.Context(), storage.OverlaySpec{Path: top, Base: named(most + 1), BaseFormat: storage.FormatRaw, Options: o})
		require.ErrorContains(t, err, fmt.Sprintf("clusters of %d bytes can name %d", cluster, most))
		base := named(most)
		_, err = m.Overlay(t.Context(), storage.OverlaySpec{Path: top, Base: base, BaseFormat: storage.FormatRaw, Options: o})
		require.NoError(t, err)
		require.Equal(t, base, described(t, top)["full-backing-filename"])
		requireSound(t, top)
		out := qemuImg(t, "compare", "-f", "qcow2", "-F", "raw", top, base)
		require.Contains(t, out, "identical")
	}
}

// TestWrittenImageGrows: QEMU can write to what is written here, up to its last byte, and
// what the base has shows through.
func TestWrittenImageGrows(t *testing.T) {
	m, root := manage(t)
	base := writeFile(t, filepath.Join(t.TempDir(), "base"), strings.Repeat("base", mib))
	for _, cluster := range []int64{512, 64 << 10, 2 << 20} {
		top := filepath.Join(root, fmt.Sprint(cluster))
		_, err := m.Overlay(t.Context(), storage.OverlaySpec{Path: top, Base: base, BaseFormat: storage.FormatRaw, Size: 70 * mib,
			Options: storage.Qcow2Options{ClusterSize: cluster}})
		require.NoError(t, err)
		out := qemuIO(t, "-f", "qcow2", "-c", "write -P 7 1M 3M", "-c", "write -P 8 67M 3M", "-c", "read -P 7 1M 3M",
			"-c", "read -P 8 67M 3M", "-c", "read -P 0 5M 62M", "-c", "read -P 98 0 1", top)
		require.NotContains(t, out, "fail")
		requireSound(t, top)
	}
}

// TestHeaderComesLast: what a maker that is killed leaves is empty, or registered as
// unfinished, or whole.
func TestHeaderComesLast(t *testing.T) {
	for _, kill := range []string{"placeholder", "row", "content", "finished"} {
		t.Run(kill, func(t *testing.T) {
			dir := t.TempDir()
			die(t, dir, kill)
			path := filepath.Join(dir, "images", "vm", "disk")
			info, err := os.Stat(path)
			require.NoError(t, err)
			files := rowsOf(t, dir)
			switch kill {
			case "placeholder":
				require.Zero(t, info.Size())
				require.Empty(t, files)
			case "row":
				require.Zero(t, info.Size())
				require.True(t, files[0].Unfinished)
			case "content", "finished":
				requireSound(t, path)
				require.Equal(t, kill == "content", files[0].Unfinished)
			}
			registry := new(storage.MemoryRegistry)
			for _, f := range files {
				require.NoError(t, registry.PutFile(t.Context(), f))
			}
			m, err := storage.NewManager(storage.Options{Root: filepath.Join(dir, "images"), Registry: registry})
			require.NoError(t, err)
			require.NoError(t, m.Delete(t.Context(), path), "who comes next can begin anew")
			requireEmpty(t, filepath.Join(dir, "images"))
			files, err = m.Files(t.Context(), storage.FileFilter{})
			require.NoError(t, err)
			require.Empty(t, files)
		})
	}
}

// TestHeaderHasAllParts: programs that don't know a feature find its name.
func TestHeaderHasAllParts(t *testing.T) {
	m, root := manage(t)
	img, err := m.Create(t.Context(), storage.CreateSpec{Path: filepath.Join(root, "a"), Size: mib,
		Options: storage.Qcow2Options{Compression: storage.CompressionZstd, LazyRefcounts: true}})
	require.NoError(t, err)
	ours, err := os.ReadFile(img.Path)
	require.NoError(t, err)
	theirs := filepath.Join(t.TempDir(), "a")
	qemuImg(t, "create", "-q", "-f", "qcow2", "-o", "compression_type=zstd,lazy_refcounts=on", theirs, "1M")
	want, err := os.ReadFile(theirs)
	require.NoError(t, err)
	require.Equal(t, want[:40], ours[:40])
	require.Equal(t, want[56:64<<10], ours[56:64<<10], "all but where the tables are")
	require.True(t, slices.IsSorted([]uint64{0, binary.BigEndian.Uint64(ours[48:]), binary.BigEndian.Uint64(ours[40:])}))
}
