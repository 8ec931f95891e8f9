package storage

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// FuzzQcow2: whatever a file begins with, reading its head ends, with an error or without.
// Images of real programs are the seeds.
func FuzzQcow2(f *testing.F) {
	dir := f.TempDir()
	for name, args := range map[string][]string{
		"plain": nil, "old": {"-o", "compat=0.10"}, "over": {"-u", "-b", "/base", "-F", "raw"}, "wide": {"-o", "extended_l2=on"},
	} {
		path := filepath.Join(dir, name)
		if exec.Command("qemu-img", append(append([]string{"create", "-f", "qcow2"}, args...), path, "1M")...).Run() == nil {
			head, err := os.ReadFile(path)
			require.NoError(f, err)
			f.Add(head[:min(len(head), 4096)])
		}
	}
	f.Add([]byte("QFI\xfb"))
	f.Fuzz(func(t *testing.T, head []byte) {
		q, err := readQcow2(bytes.NewReader(head))
		if err != nil {
			return
		}
		require.GreaterOrEqual(t, q.size, int64(0))
		require.LessOrEqual(t, len(q.backing), maxBackingName)
		_, _ = q.base("/images/top")
		msg, fix := q.usable(false)
		require.Equal(t, msg == "", fix == "")
	})
}
