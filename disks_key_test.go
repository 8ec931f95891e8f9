package maqet_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/storage"
	"github.com/maqet/maqet/vm"
)

// TestEncryptedDisks: what a guest writes to disks with a key is there after a restart, and
// nowhere on the host for who has no key; nor is the key itself.
func TestEncryptedDisks(t *testing.T) {
	const passphrase, confidential = "open, sesame", "confidential: the treasure is below the palm tree"
	dir, home, keep := t.TempDir(), shortDir(t), true
	key := filepath.Join(dir, "a,key")
	require.NoError(t, os.WriteFile(key, []byte(passphrase), 0o600))
	m := open(t, home)
	own, err := m.Storage.Create(t.Context(), storage.CreateSpec{Path: filepath.Join(home, "images", "own.qcow2"), Size: 16 << 20,
		Encryption: &storage.Encryption{Secret: storage.Secret{Value: []byte(passphrase)}, Unlock: time.Millisecond}})
	require.NoError(t, err)
	g, err := m.Run(t.Context(), vm.Config{Boot: vm.Boot{Initrd: "auto"}, Disks: []vm.Disk{
		{Path: own.Path, KeyFile: key}, {Base: diskImage(t, dir, "below.raw", 16), KeyFile: key, Keep: &keep},
	}})
	require.NoError(t, err)
	// Each line begins with what is confidential, and its number makes it another one.
	inGuest(t.Context(), t, g, "i=0; while test $i -lt 2000; do echo \""+confidential+" $i\"; i=$((i+1)); done >/tmp/pattern\n"+
		"for d in vda vdb; do dd if=/tmp/pattern of=/dev/$d bs=1M seek=2 conv=fsync 2>/dev/null; done")
	sums := func() string {
		return inGuest(t.Context(), t, g, "for d in vda vdb; do dd if=/dev/$d bs=1M skip=2 count=1 2>/dev/null | md5sum; done; head -c 5 /dev/vdb")
	}
	before := sums()
	require.True(t, strings.HasSuffix(before, "below"), "the base shows through")

	inst, err := m.VM.Get(t.Context(), g.ID())
	require.NoError(t, err)
	require.NotContains(t, strings.Join(inst.Runtime.Args, " "), passphrase)
	_, err = g.Stop(t.Context())
	require.NoError(t, err)
	for _, img := range inst.Runtime.Disks {
		require.True(t, img.Encrypted, img.Name)
		data, err := os.ReadFile(img.Path)
		require.NoError(t, err)
		require.Greater(t, len(data), 2<<20)
		require.False(t, bytes.Contains(data, []byte(confidential[:16])), img.Name)
	}
	requireNowhere(t, home, passphrase)

	require.NoError(t, g.Start(t.Context()))
	require.Equal(t, before, sums())
}

// requireNowhere fails if the text is in any file below dir.
func requireNowhere(t *testing.T, dir, text string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		require.False(t, bytes.Contains(data, []byte(text)), path)
		return err
	})
	require.NoError(t, err)
}
