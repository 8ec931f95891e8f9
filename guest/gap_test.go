package guest_test

import (
	"context"
	"testing"
	"time"

	goqemu "github.com/digitalocean/go-qemu/qmp"
	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/guest"
	"github.com/maqet/maqet/qmp"
)

// TestGap: a process that shares QEMU's last monitor gets a gap with each of its turns,
// which is no reset: what runs in the guest goes on, in the same session.
func TestGap(t *testing.T) {
	bothWays(t, func(t *testing.T, v *fakeVM, m *guest.Manager) {
		require.NoError(t, m.Ping(soon(t), "box"))
		before := v.dials.Load()
		time.AfterFunc(50*time.Millisecond, func() { v.monitor.events <- goqemu.Event{Event: qmp.EventGap} })
		_, err := m.Exec(soon(t), "box", guest.Command{Args: []string{"sleep", "0.3"}})
		require.NoError(t, err)
		require.NoError(t, m.Ping(soon(t), "box"))
		require.Equal(t, before, v.dials.Load())
	})
}

// TestGapWhileBusy: a session in which as much runs as can does not take part in that with
// the question whether it still works.
func TestGapWhileBusy(t *testing.T) {
	m := withInit(t, newFakeVM(t)).manager(t)
	address := server(t, echo)
	for {
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		conn, err := m.Dial(ctx, "box", "tcp", address)
		cancel()
		if err != nil {
			require.ErrorIs(t, err, context.DeadlineExceeded)
			break
		}
		defer conn.Close()
	}
	require.NoError(t, m.Ping(soon(t), "box"))
}
