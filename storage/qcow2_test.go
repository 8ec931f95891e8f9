package storage

import (
	"bytes"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
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

// TestLongHeader: what is behind the usual part of a header counts as well.
func TestLongHeader(t *testing.T) {
	for _, size := range []int{100, usualHeader - headerBytes - 16, usualHeader - headerBytes - 8, usualHeader, 30_000} {
		b := blank{size: 1 << 20}
		head := b.header(b.tables())[:headerBytes]
		add := func(kind uint32, data string) {
			head = binary.BigEndian.AppendUint32(head, kind)
			head = binary.BigEndian.AppendUint32(head, uint32(len(data)))
			head = append(head, data...)
			head = append(head, make([]byte, -len(data)&7)...)
		}
		add(0x12345678, strings.Repeat("x", size))
		add(extensionDataFile, "/data")
		add(extensionFormat, FormatRaw)
		add(extensionEnd, "")
		plain := append(slices.Clone(head), make([]byte, 1<<20)...)
		q, err := readQcow2(bytes.NewReader(plain))
		require.NoError(t, err)
		require.Equal(t, "/data", q.dataFile, size)

		binary.BigEndian.PutUint64(head[8:], uint64(len(head)))
		binary.BigEndian.PutUint32(head[16:], uint32(len("/base")))
		head = append(append(head, "/base"...), make([]byte, 1<<20)...)
		q, err = readQcow2(bytes.NewReader(head))
		require.NoError(t, err)
		require.Equal(t, "/base raw /data", q.backing+" "+q.format+" "+q.dataFile, size)
	}
}
