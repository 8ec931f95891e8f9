package snapshot_test

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/guest"
	"github.com/maqet/maqet/snapshot"
	"github.com/maqet/maqet/vm"
)

// start boots the VM.
func (b *bench) start() {
	b.t.Helper()
	begun := time.Now()
	_, err := b.vms.Start(patience(b.t), b.id, vm.WaitFor(b.guests.Until(guest.AgentReady())))
	require.NoError(b.t, err)
	b.t.Logf("booted in %v", time.Since(begun).Round(time.Millisecond))
}

func (b *bench) stop(opts ...vm.StopOption) {
	b.t.Helper()
	_, err := b.vms.Stop(patience(b.t), b.id, opts...)
	require.NoError(b.t, err)
}

// sh runs a script in the guest.
func (b *bench) sh(script string) string {
	b.t.Helper()
	res, err := b.guests.Exec(patience(b.t), b.id, guest.Command{Args: []string{"sh", "-c", script}})
	require.NoError(b.t, err)
	return strings.TrimSpace(string(res.Stdout))
}

// TestLive prints what happens.
func TestLive(t *testing.T) {
	b := newBench(t, map[string]string{"root": "qcow2", "data": "qcow2", "plain": "raw"})
	b.start()
	dir := filepath.Join(t.TempDir(), "backups")
	ctx := context.Background()
	for i := range 3 {
		t.Log(b.sh(fmt.Sprintf("for d in vda vdb vdc; do dd if=/dev/urandom of=/dev/$d bs=64k seek=%d count=3 conv=fsync 2>&1; sha256sum /dev/$d; done", i*2)))
		got, err := b.Backup(ctx, b.id, dir)
		require.NoError(t, err)
		t.Logf("%+v", got)
		t.Log(restored(t, dir, i+1, vm.FormatRaw))
	}
	require.NoError(t, snapshot.VerifyBackup(ctx, dir))
	b.stop()
	got, err := b.Backup(ctx, b.id, dir)
	require.NoError(t, err)
	t.Logf("%+v", got)
	b.start()
	got, err = b.Backup(ctx, b.id, dir)
	require.NoError(t, err)
	t.Logf("%+v", got)
}
