package snapshot_test

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/snapshot"
)

// BenchmarkBackup works on a disk of 1 GiB with 256 MiB of data. What is incremental copies the
// 16 MiB that the guest has written since.
func BenchmarkBackup(b *testing.B) {
	v := newBench(b, map[string]string{"data": "qcow2"})
	v.image("resize", "-q", "-f", "qcow2", v.disks["data"], "1G")
	for i := range 256 {
		v.write("data", fmt.Sprintf("%dM 1M", 4*i), i%255+1)
	}
	b.Run("qemu-img convert", func(b *testing.B) {
		for b.Loop() {
			v.image("convert", "-f", "qcow2", "-O", "qcow2", v.disks["data"], filepath.Join(b.TempDir(), "copy"))
		}
	})
	dir := filepath.Join(b.TempDir(), "backups")
	backup := func(b *testing.B, opts ...snapshot.Option) {
		got, err := v.Backup(patience(b), v.id, dir, opts...)
		require.NoError(b, err)
		b.ReportMetric(float64(got.Disks[0].Bytes)/(1<<20), "MiB")
	}
	v.start()
	b.Run("whole", func(b *testing.B) {
		for b.Loop() {
			backup(b, snapshot.FullBackup())
		}
	})
	b.Run("whole, no checksums", func(b *testing.B) {
		for b.Loop() {
			backup(b, snapshot.FullBackup(), snapshot.NoChecksums())
		}
	})
	b.Run("incremental", func(b *testing.B) {
		for b.Loop() {
			b.StopTimer()
			v.sh("dd if=/dev/zero of=/dev/vda bs=1M seek=100 count=16 conv=fsync,notrunc 2>/dev/null")
			b.StartTimer()
			backup(b)
		}
	})
	b.Run("incremental, nothing written", func(b *testing.B) {
		for b.Loop() {
			backup(b)
		}
	})
	b.Run("verify", func(b *testing.B) {
		for b.Loop() {
			require.NoError(b, snapshot.VerifyBackup(patience(b), dir))
		}
	})
	b.Run("restore", func(b *testing.B) {
		for b.Loop() {
			_, err := snapshot.RestoreBackup(patience(b), dir, snapshot.RestoreSpec{Dir: filepath.Join(b.TempDir(), "to")})
			require.NoError(b, err)
		}
	})
	v.stop()
	b.Run("not live, nothing written", func(b *testing.B) {
		for b.Loop() {
			backup(b)
		}
	})
}
