package process

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/internal/flock"
	"github.com/maqet/maqet/qmp"
	"github.com/maqet/maqet/vm"
)

// attached returns more clients of a guest, as other processes would be.
func attached(t *testing.T, h *house, g *guest, spec vm.LaunchSpec, n int) (clients []*guest) {
	for range n {
		c, err := h.b.Attach(patient(t), record(spec, g))
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, c.Release()) })
		clients = append(clients, c.(*guest))
	}
	return clients
}

func owns(g *guest) bool {
	g.control.mu.Lock()
	defer g.control.mu.Unlock()
	return g.control.own
}

// TestMonitors: three clients have a monitor each, any number share the last one, and one
// of those gets a monitor of its own when somebody leaves.
func TestMonitors(t *testing.T) {
	h := newHouse(t)
	g, spec := h.running(vm.Config{})
	clients := append([]*guest{g}, attached(t, h, g, spec, monitors+2)...)
	for i, c := range clients {
		require.Equal(t, i < monitors-1, owns(c), i)
	}
	var work sync.WaitGroup
	for i, c := range clients {
		for j := range 3 {
			work.Go(func() {
				for k := range 20 {
					name := fmt.Sprintf("c%d-%d-%d", i, j, k) // the answer repeats it
					_, err := c.QMP().Execute(patient(t), name, nil)
					var failed *errors.QMPError
					require.ErrorAs(t, err, &failed)
					require.Contains(t, failed.Desc, name)
				}
			})
		}
	}
	work.Wait()

	require.NoError(t, clients[1].Release())
	late := clients[len(clients)-1]
	require.Equal(t, spec.ID, ask[struct{ UUID string }](t, late, "query-uuid", nil).UUID)
	require.True(t, owns(late))
}

// TestTurns: what a client that shares a monitor sees of events, how it waits, and how it
// notices the end.
func TestTurns(t *testing.T) {
	h := newHouse(t)
	g, spec := h.running(vm.Config{})
	attached(t, h, g, spec, monitors-2)
	c := attached(t, h, g, spec, 1)[0]
	require.False(t, owns(c))
	sub := c.QMP().Subscribe()

	release, err := c.QMP().(qmp.Holder).Hold(patient(t))
	require.NoError(t, err)
	_, err = c.QMP().Execute(patient(t), "cont", nil)
	require.NoError(t, err)
	e, err := sub.Await(patient(t), func(e qmp.Event) bool { return e.Name != qmp.EventGap })
	require.NoError(t, err)
	require.Equal(t, "RESUME", e.Name)

	other := lockPath(socketPath(g.runtime.Dir, monitorName(monitors-1)))
	_, err = flock.Try(other)
	require.ErrorIs(t, err, flock.ErrHeld)
	release()
	release()
	lock, err := flock.Try(other) // somebody else's turn
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	begun := time.Now()
	_, err = c.QMP().Execute(ctx, "query-status", nil)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorIs(t, err, errors.ErrQMPTimeout)
	require.Less(t, time.Since(begun), 5*time.Second)
	_, err = g.QMP().Execute(patient(t), "stop", nil)
	require.NoError(t, err)
	require.NoError(t, lock.Unlock())

	ask[any](t, c, "query-status", nil)
	e, err = sub.Await(patient(t), nil)
	require.NoError(t, err)
	require.Equal(t, qmp.EventGap, e.Name, "STOP was missed")

	_, err = g.QMP().Execute(patient(t), "quit", nil)
	require.NoError(t, err)
	<-c.Done()
	_, err = sub.Await(patient(t), nil)
	require.ErrorIs(t, err, errors.ErrQMPConnection)
	_, err = c.QMP().Execute(patient(t), "query-status", nil)
	require.ErrorIs(t, err, errors.ErrQMPConnection)
}

// TestLongTurnEnds: a client with commands in flight all the time lets others in.
func TestLongTurnEnds(t *testing.T) {
	h := newHouse(t)
	g, spec := h.running(vm.Config{})
	attached(t, h, g, spec, monitors-2)
	sharing := attached(t, h, g, spec, 2)
	busy, stop := context.WithCancel(t.Context())
	var work sync.WaitGroup
	for range 4 {
		work.Go(func() {
			for busy.Err() == nil {
				if _, err := sharing[0].QMP().Execute(busy, "query-status", nil); err != nil {
					require.ErrorIs(t, err, context.Canceled)
				}
			}
		})
	}
	for range 5 {
		ask[any](t, sharing[1], "query-status", nil)
	}
	stop()
	work.Wait()
}
