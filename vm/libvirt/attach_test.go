package libvirt

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/vm"
)

// TestAttachBearsAShortOutage: a libvirtd that is started anew is no reason to give a guest up,
// and of many VMs only the first one waits for a host that stays away.
func TestAttachBearsAShortOutage(t *testing.T) {
	b, err := New(Options{URI: "test:///default?socket=" + t.TempDir() + "/none", LogDir: t.TempDir(), Grace: time.Second})
	require.NoError(t, err)
	defer func() { require.NoError(t, b.Close()) }()
	attach := func() time.Duration {
		begun := time.Now()
		_, err := b.Attach(t.Context(), vm.Instance{ID: uuid.NewString(), Name: "far", Config: vm.Config{Lifetime: vm.Persistent}})
		require.ErrorIs(t, err, errors.ErrHostUnreachable)
		return time.Since(begun)
	}
	first, rest := attach(), time.Duration(0)
	require.Greater(t, first, 500*time.Millisecond)
	for range 10 {
		rest += attach()
	}
	require.Less(t, rest, 5*first, "they don't wait again")

	back, err := New(Options{URI: daemon.Get(t).URI(), LogDir: t.TempDir()})
	require.NoError(t, err)
	defer func() { require.NoError(t, back.Close()) }()
	back.outage.left(0)
	_, err = back.Attach(t.Context(), vm.Instance{ID: uuid.NewString(), Name: "gone", Config: vm.Config{Lifetime: vm.Persistent}})
	require.ErrorIs(t, err, errors.ErrVMNotRunning)
	require.True(t, back.outage.since.IsZero())
}
