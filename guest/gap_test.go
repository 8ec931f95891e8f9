package guest_test

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	goqemu "github.com/digitalocean/go-qemu/qmp"
	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/guest"
	"github.com/maqet/maqet/qmp"
	"github.com/maqet/maqet/vm"
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

// TestGapWhilePaused: a guest that is paused does not answer, and goes on afterwards.
func TestGapWhilePaused(t *testing.T) {
	const limit = 100 * time.Millisecond
	for name, paused := range map[string]bool{"paused": true, "silent": false} {
		t.Run(name, func(t *testing.T) {
			v := withInit(t, newFakeVM(t))
			link := &frozen{}
			dial := v.channels[vm.ChannelStream0]
			v.channel(vm.ChannelStream0, func(ctx context.Context) (net.Conn, error) {
				var err error
				link.Conn, err = dial(ctx)
				return link, err
			})
			v.monitor.answer = func(command string) string {
				if strings.Contains(command, "query-status") {
					return fmt.Sprintf(`{"return":{"running":%t,"status":"x"}}`, !paused)
				}
				return `{"return":{}}`
			}
			m := v.manager(t)
			m.SetCheckLimit(limit)
			require.NoError(t, m.Ping(soon(t), "box"))
			time.AfterFunc(limit, func() {
				link.mu.Lock()
				v.monitor.events <- goqemu.Event{Event: qmp.EventGap}
				time.AfterFunc(5*limit, link.mu.Unlock)
			})
			_, err := m.Exec(soon(t), "box", guest.Command{Args: []string{"sleep", "0.3"}})
			if paused {
				require.NoError(t, err)
			} else {
				require.ErrorIs(t, err, errors.ErrAgentUnavailable)
			}
		})
	}
}

// frozen is a connection by which nothing comes while mu is held.
type frozen struct {
	net.Conn
	mu sync.Mutex
}

func (f *frozen) Read(p []byte) (int, error) {
	n, err := f.Conn.Read(p)
	f.mu.Lock()
	defer f.mu.Unlock()
	return n, err
}
