package guest

import (
	"archive/tar"
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestUnpackHostile feeds streams that try to write outside of the target.
func TestUnpackHostile(t *testing.T) {
	dir := func(name string) tar.Header { return tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: 0o755} }
	file := func(name string) tar.Header { return tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o4755} }
	link := func(name, to string) tar.Header {
		return tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: to}
	}
	hard := func(name, to string) tar.Header { return tar.Header{Typeflag: tar.TypeLink, Name: name, Linkname: to} }
	for name, entries := range map[string][]tar.Header{
		"dot dot":            {dir("."), file("../evil")},
		"dot dot below":      {dir("t"), file("t/../../evil")},
		"first is dot dot":   {dir(".."), file("../../evil")},
		"absolute":           {dir("t"), file("/evil")},
		"beside":             {dir("t"), file("evil")},
		"through a link":     {dir("."), link("l", ".."), file("l/evil")},
		"through a far link": {dir("."), link("l", "../.."), dir("l/evil")},
		"absolute link":      {dir("."), link("l", "/tmp"), file("l/evil")},
		"the target a link":  {link("t", ".."), file("t/evil")},
		"hard link outside":  {dir("."), hard("x", "../victim")},
		"hard link by link":  {dir("."), link("l", ".."), hard("x", "l/victim")},
		"below a file":       {file("t"), file("t/evil")},
		"twice":              {dir("."), file("a"), file("a")},
		"nothing":            {},
	} {
		t.Run(name, func(t *testing.T) {
			var stream bytes.Buffer
			w := tar.NewWriter(&stream)
			for _, h := range entries {
				require.NoError(t, w.WriteHeader(&h))
			}
			require.NoError(t, w.Close())
			parent := t.TempDir()
			require.NoError(t, os.WriteFile(filepath.Join(parent, "victim"), []byte("safe"), 0o600))
			s, err := newStage(filepath.Join(parent, "target"))
			require.NoError(t, err)
			require.Error(t, s.unpack(context.Background(), &stream))
			s.remove()
			left, err := os.ReadDir(parent)
			require.NoError(t, err)
			require.Len(t, left, 1, "only what was there")
		})
	}
}

func TestUnpackDropsSpecialBits(t *testing.T) {
	var stream bytes.Buffer
	w := tar.NewWriter(&stream)
	require.NoError(t, w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "x", Mode: 0o6755}))
	require.NoError(t, w.Close())
	target := filepath.Join(t.TempDir(), "x")
	s, err := newStage(target)
	require.NoError(t, err)
	defer s.remove()
	require.NoError(t, s.unpack(context.Background(), &stream))
	require.NoError(t, s.commit())
	info, err := os.Stat(target)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o755), info.Mode())
}

func TestHasListener(t *testing.T) {
	const table = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0
   1: 0100007F:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0
   2: 0F02000A:01BB 0202000A:D431 01 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0
   3: 00000000000000000000000001000000:0051 00000000000000000000000000000000:0000 0A 0 0 0
   4: 00000000000000000000000000000000:0052 00000000000000000000000000000000:0000 0A 0 0 0
   5: 0000000000000000FFFF00000100007F:0053 00000000000000000000000000000000:0000 0A 0 0 0`
	for port, want := range map[uint16]bool{22: true, 80: false, 443: false, 0x51: false, 0x52: true, 0x53: false, 1: false} {
		require.Equal(t, want, hasListener([]byte(table), port), "port %d", port)
	}
}
