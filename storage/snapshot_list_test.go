package storage_test

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/storage"
)

// told is what qemu-img says of a snapshot.
type told struct {
	ID        string `json:"id"`
	Name      string `json:"name"`
	Memory    int64  `json:"vm-state-size"`
	Sec       int64  `json:"date-sec"`
	Nsec      int64  `json:"date-nsec"`
	ClockSec  int64  `json:"vm-clock-sec"`
	ClockNsec int64  `json:"vm-clock-nsec"`
}

// toldSnapshots are the snapshots of an image as qemu-img lists them; size is the image's.
func toldSnapshots(t testing.TB, path string, size int64) []storage.Snapshot {
	t.Helper()
	var info struct{ Snapshots []told }
	require.NoError(t, json.Unmarshal([]byte(qemuImg(t, "info", "--output=json", "-f", "qcow2", path)), &info))
	var list []storage.Snapshot
	for _, s := range info.Snapshots {
		list = append(list, storage.Snapshot{ID: s.ID, Name: s.Name, Memory: s.Memory, Created: time.Unix(s.Sec, s.Nsec).UTC(),
			VMClock: time.Duration(s.ClockSec)*time.Second + time.Duration(s.ClockNsec), Size: size})
	}
	return list
}

func newImage(t testing.TB, m *storage.Manager, path string, size int64) string {
	t.Helper()
	img, err := m.Create(t.Context(), storage.CreateSpec{Path: path, Size: size})
	require.NoError(t, err)
	return img.Path
}

// TestSnapshotsAsQEMU: what is read from an image is what qemu-img says of it, for images of
// every layout, and after snapshots in the middle have gone.
func TestSnapshotsAsQEMU(t *testing.T) {
	m, root := manage(t)
	for layout, options := range map[string]string{"usual": "", "oldest": "compat=0.10", "small": "cluster_size=512", "large": "cluster_size=2M"} {
		t.Run(layout, func(t *testing.T) {
			path := filepath.Join(root, layout)
			require.NoError(t, os.MkdirAll(root, 0o700))
			args := []string{"create", "-q", "-f", "qcow2", path, "4M"}
			if options != "" {
				args = append(args, "-o", options)
			}
			qemuImg(t, args...)
			list, err := m.Snapshots(t.Context(), path)
			require.NoError(t, err)
			require.Empty(t, list)
			for i := range 12 {
				qemuImg(t, "snapshot", "-c", fmt.Sprint(strings.Repeat("ä", i), " '\"-", i), path)
			}
			for _, i := range []int{0, 5, 11} {
				qemuImg(t, "snapshot", "-d", fmt.Sprint(strings.Repeat("ä", i), " '\"-", i), path)
			}
			list, err = m.Snapshots(t.Context(), path)
			require.NoError(t, err)
			require.Len(t, list, 9)
			require.Equal(t, toldSnapshots(t, path, 4*mib), list)
		})
	}
}

// TestSnapshotsMany: many are listed quickly, and none is lost.
func TestSnapshotsMany(t *testing.T) {
	m, root := manage(t)
	path := newImage(t, m, filepath.Join(root, "disk"), mib)
	for i := range 50 {
		qemuImg(t, "snapshot", "-c", fmt.Sprintf("snapshot %d", i), path)
	}
	begun := time.Now()
	list, err := m.Snapshots(t.Context(), path)
	t.Log("50 snapshots listed in", time.Since(begun))
	require.NoError(t, err)
	require.Len(t, list, 50)
	require.Equal(t, toldSnapshots(t, path, mib), list)
}

// TestSnapshotsSize: a snapshot says how large the image was when it was made.
func TestSnapshotsSize(t *testing.T) {
	m, root := manage(t)
	path := newImage(t, m, filepath.Join(root, "disk"), mib)
	qemuImg(t, "snapshot", "-c", "small", path)
	qemuImg(t, "resize", "-q", "-f", "qcow2", path, "2M")
	qemuImg(t, "snapshot", "-c", "large", path)
	list, err := m.Snapshots(t.Context(), path)
	require.NoError(t, err)
	require.Equal(t, []int64{mib, 2 * mib}, []int64{list[0].Size, list[1].Size})
}

// TestSnapshotsDamaged: an image whose header or table makes no sense is an error that says so.
func TestSnapshotsDamaged(t *testing.T) {
	m, root := manage(t)
	image := newImage(t, m, filepath.Join(root, "disk"), mib)
	qemuImg(t, "snapshot", "-c", "one", image)
	whole, err := os.ReadFile(image)
	require.NoError(t, err)
	table := binary.BigEndian.Uint64(whole[64:])
	for name, damage := range map[string]func(b []byte) []byte{
		"count":     func(b []byte) []byte { binary.BigEndian.PutUint32(b[60:], 1<<20); return b },
		"more":      func(b []byte) []byte { binary.BigEndian.PutUint32(b[60:], 60000); return b },
		"odd":       func(b []byte) []byte { binary.BigEndian.PutUint64(b[64:], table+8); return b },
		"far":       func(b []byte) []byte { binary.BigEndian.PutUint64(b[64:], 1<<63); return b },
		"beyond":    func(b []byte) []byte { binary.BigEndian.PutUint64(b[64:], 1<<40); return b },
		"nowhere":   func(b []byte) []byte { binary.BigEndian.PutUint64(b[64:], 0); return b },
		"extra":     func(b []byte) []byte { binary.BigEndian.PutUint32(b[table+36:], 1<<31); return b },
		"cut name":  func(b []byte) []byte { return b[:table+66] },
		"cut table": func(b []byte) []byte { return b[:table] },
	} {
		path := writeFile(t, filepath.Join(t.TempDir(), "disk"), string(damage([]byte(string(whole)))))
		_, err := m.Snapshots(t.Context(), path)
		var bad *storage.ImageError
		require.ErrorAs(t, err, &bad, name)
		require.ErrorIs(t, err, errors.ErrStorage)
		require.ErrorContains(t, err, "damaged", name)
		require.Equal(t, path, bad.Path)
	}
}

func TestSnapshotsErrors(t *testing.T) {
	m, root := manage(t)
	_, err := m.Snapshots(t.Context(), filepath.Join(root, "missing"))
	require.ErrorIs(t, err, errors.ErrImageNotFound)
	raw := writeFile(t, filepath.Join(t.TempDir(), "raw"), strings.Repeat("x", mib))
	_, err = m.Snapshots(t.Context(), raw)
	var format *storage.FormatError
	require.ErrorAs(t, err, &format)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = m.Snapshots(ctx, newImage(t, m, filepath.Join(root, "disk"), mib))
	require.ErrorIs(t, err, context.Canceled)
}

// TestSnapshotsWhileWritten: who lists while others make and delete snapshots sees the table
// of one moment, never a part of one.
func TestSnapshotsWhileWritten(t *testing.T) {
	m, root := manage(t)
	path := newImage(t, m, filepath.Join(root, "disk"), mib)
	for i := range 8 {
		qemuImg(t, "snapshot", "-c", fmt.Sprint("kept", i), path)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 15 {
			for _, what := range []string{"-c", "-d"} {
				if out, err := runImg("snapshot", what, "comes and goes", path); err != nil {
					t.Errorf("%s", out)
					return
				}
			}
		}
	}()
	seen := map[int]int{}
	for writing := true; writing; {
		select {
		case <-done:
			writing = false
		default:
		}
		list, err := m.Snapshots(t.Context(), path)
		if !errors.Is(err, errors.ErrStorage) { // all tries failed: as it says
			require.NoError(t, err)
			require.Contains(t, []int{8, 9}, len(list))
			for i := range 8 {
				require.Equal(t, fmt.Sprint("kept", i), list[i].Name)
			}
		}
		seen[len(list)]++
	}
	t.Log("snapshots seen, and how often:", seen)
	require.NotZero(t, seen[8])
	require.NotZero(t, seen[9])
}

func BenchmarkSnapshots(b *testing.B) {
	m, root := manage(b)
	path := newImage(b, m, filepath.Join(root, "disk"), mib)
	for i := range 50 {
		qemuImg(b, "snapshot", "-c", fmt.Sprint("snapshot", i), path)
	}
	for b.Loop() {
		list, err := m.Snapshots(b.Context(), path)
		require.NoError(b, err)
		require.Len(b, list, 50)
	}
}
