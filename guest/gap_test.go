package guest_test

import (
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
