package libvirt

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/digitalocean/go-libvirt"
	goqemu "github.com/digitalocean/go-qemu/qmp"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/internal/libvirttest"
	"github.com/maqet/maqet/vm"
)

func instanceOf(d libvirt.Domain) vm.Instance {
	return vm.Instance{ID: uuid.UUID(d.UUID).String(), Name: d.Name}
}

// TestMonitor runs programs for go-qemu's monitor of a libvirt domain on both, and expects the
// same.
func TestMonitor(t *testing.T) {
	h := newQMPHost(t, daemon.Get(t))
	d := h.domain(t, "monitor", "")
	ours, err := h.b.Monitor(qmpPatient(t), instanceOf(d))
	require.NoError(t, err)
	below, err := h.daemon.DialMonitor()
	require.NoError(t, err)
	defer below.Close()
	theirs := goqemu.NewLibvirtRPCMonitor(d.Name, below)
	require.NoError(t, ours.Connect())
	require.NoError(t, theirs.Connect())
	ourEvents, err := ours.Events(t.Context())
	require.NoError(t, err)
	theirEvents, err := theirs.Events(t.Context())
	require.NoError(t, err)

	for _, command := range []string{
		`{"execute":"query-status"}`,
		`{"execute":"query-version"}`,
		`{"execute":"query-qmp-schema"}`, // 200 KB
		`{"execute":"qom-list","arguments":{"path":"/"}}`,
		`{"execute":"human-monitor-command","arguments":{"command-line":"n\u00f6 <&> such"}}`,
		`{"execute":"system_reset"}`,
	} {
		want, err := theirs.Run([]byte(command))
		require.NoError(t, err)
		got, err := ours.Run([]byte(command))
		require.NoError(t, err)
		require.Equal(t, returned(t, want), returned(t, got), command)
	}
	for _, events := range []<-chan goqemu.Event{ourEvents, theirEvents} {
		e := nextEvent(t, events)
		require.Equal(t, "RESET", e.Event)
		require.Contains(t, e.Data, "guest")
		require.WithinDuration(t, time.Now(), time.Unix(e.Timestamp.Seconds, 0), time.Minute)
	}

	_, want := theirs.Run([]byte(`{"execute":"device_del","arguments":{"id":"nope"}}`))
	_, got := ours.Run([]byte(`{"execute":"device_del","arguments":{"id":"nope"}}`))
	var refused *errors.QMPError
	require.ErrorAs(t, got, &refused)
	require.Equal(t, want.Error(), refused.Desc)
	require.Equal(t, "DeviceNotFound", refused.Class, "which theirs loses")

	// The second RESET is theirs, too: each monitor sees what the other does.
	require.Equal(t, "RESET", nextEvent(t, ourEvents).Event)
	require.Equal(t, "RESET", nextEvent(t, theirEvents).Event)
	for _, command := range []string{"cont", "stop"} {
		_, err := ours.Run([]byte(`{"execute":"` + command + `"}`))
		require.NoError(t, err)
	}
	require.Equal(t, "RESUME", nextEvent(t, ourEvents).Event, "which theirs drops")
	require.Equal(t, "STOP", nextEvent(t, ourEvents).Event)
	_, err = theirs.Run([]byte(`{"execute":"query-status","id":"x"}`))
	require.Error(t, err)
	_, err = ours.Run([]byte(`{"execute":"query-status","id":"x"}`))
	require.NoError(t, err, "ids are the caller's business")

	require.NoError(t, h.beside.DomainDestroy(d))
	for range ourEvents { // until it notices the end
	}
	_, want = theirs.Run([]byte(`{"execute":"query-status"}`))
	_, got = ours.Run([]byte(`{"execute":"query-status"}`))
	require.Error(t, want)
	require.ErrorIs(t, got, errors.ErrQMPConnection)
	require.ErrorIs(t, ours.Connect(), errors.ErrQMPConnection)
	require.NoError(t, ours.Disconnect())
	require.NoError(t, theirs.Disconnect())
	for range theirEvents { // a goroutine of go-qemu's waits until each is read
	}

	_, err = h.b.Monitor(t.Context(), instanceOf(d))
	require.ErrorIs(t, err, errors.ErrVMNotRunning)
	_, err = h.b.Monitor(t.Context(), vm.Instance{ID: "no UUID"})
	require.ErrorIs(t, err, errors.ErrInvalidConfiguration)
}

// returned is what a reply returns, whatever id libvirt gave it.
func returned(t *testing.T, reply []byte) any {
	t.Helper()
	var m struct {
		Return any `json:"return"`
	}
	require.NoError(t, json.Unmarshal(reply, &m))
	require.NotNil(t, m.Return)
	return m.Return
}

func nextEvent(t *testing.T, events <-chan goqemu.Event) goqemu.Event {
	t.Helper()
	select {
	case e := <-events:
		return e
	case <-time.After(time.Minute):
		require.Fail(t, "no event")
		return goqemu.Event{}
	}
}

// Letting go of a monitor leaves the domain alone.
func TestMonitorDisconnect(t *testing.T) {
	h := newQMPHost(t, daemon.Get(t))
	d := h.domain(t, "monitor-left", "")
	m, err := h.b.Monitor(qmpPatient(t), instanceOf(d))
	require.NoError(t, err)
	events, err := m.Events(t.Context())
	require.NoError(t, err)
	require.NoError(t, m.Disconnect())
	_, open := <-events
	require.False(t, open)
	_, err = m.Run([]byte(`{"execute":"query-status"}`))
	require.ErrorIs(t, err, errors.ErrQMPConnection)
	state, _, err := h.beside.DomainGetState(d, 0)
	require.NoError(t, err)
	require.EqualValues(t, libvirt.DomainPaused, state)
}

// TestMonitorManyGoroutines uses one domain's monitor from 16 goroutines, and each gets the
// answers to its own commands.
func TestMonitorManyGoroutines(t *testing.T) {
	h := newQMPHost(t, daemon.Get(t))
	c := h.control(t, h.domain(t, "many", ""))
	require.NoError(t, c.connect(qmpPatient(t)))
	ctx := qmpPatient(t)
	begun := time.Now()
	var work sync.WaitGroup
	for g := range 16 {
		work.Go(func() {
			for i := range 200 {
				id := fmt.Sprintf("d%d-%d", g, i)
				_, err := c.Execute(ctx, "device_del", map[string]string{"id": id})
				var refused *errors.QMPError
				if !errors.As(err, &refused) || refused.Desc != "Device '"+id+"' not found" {
					t.Errorf("%s: %v", id, err)
					return
				}
			}
		})
	}
	work.Wait()
	t.Logf("3200 commands in %v", time.Since(begun))
}

// TestControlOverOutage kills libvirtd under commands: they fail at once, and go on when it is
// back, as the guest is still there.
func TestControlOverOutage(t *testing.T) {
	h := newQMPHost(t, libvirttest.Start(t))
	d := h.domain(t, "outage", "")
	inst := instanceOf(d)
	m, err := h.b.Monitor(qmpPatient(t), inst)
	require.NoError(t, err)
	c := h.control(t, d)
	require.NoError(t, c.connect(qmpPatient(t)))
	tell := make(chan error, 8)
	ready := make(chan struct{}, 8)
	var work sync.WaitGroup
	defer work.Wait()
	for range 4 {
		work.Go(func() {
			for first := true; ; first = false {
				_, err := c.Execute(qmpPatient(t), "query-status", nil)
				if err != nil {
					tell <- err
					return
				}
				if first {
					ready <- struct{}{}
				}
			}
		})
	}
	for range 4 {
		<-ready
	}
	killed := time.Now()
	h.daemon.Kill(t)
	for range 4 {
		err := <-tell
		require.ErrorIs(t, err, errors.ErrQMPConnection)
		require.ErrorIs(t, err, errors.ErrLibvirtConnection)
	}
	require.Less(t, time.Since(killed), 30*time.Second)
	require.NoError(t, c.Err(), "the guest has not ended")

	h.daemon.Restart(t)
	require.Eventually(t, func() bool {
		_, err := c.Execute(qmpPatient(t), "query-status", nil)
		return err == nil
	}, time.Minute, 50*time.Millisecond)
	_, err = m.Run([]byte(`{"execute":"query-status"}`))
	require.NoError(t, err, "nor for those who know no contexts")
	require.NoError(t, m.Disconnect())
}

// QEMU hangs: who waits leaves at his deadline, and the host's other guests go on.
func TestControlOfHungQEMU(t *testing.T) {
	h := newQMPHost(t, daemon.Get(t))
	d := h.domain(t, "hung", "")
	c, other := h.control(t, d), h.control(t, h.domain(t, "fine", ""))
	require.NoError(t, c.connect(qmpPatient(t)))
	require.NoError(t, other.connect(qmpPatient(t)))
	qemu := h.daemon.Process(t, d.Name)
	require.NoError(t, qemu.Signal(unix.SIGSTOP))
	defer func() { _ = qemu.Signal(unix.SIGCONT) }()
	var work sync.WaitGroup
	for range 8 {
		work.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			defer cancel()
			_, err := c.Execute(ctx, "query-status", nil)
			if !errors.Is(err, errors.ErrQMPTimeout) || !errors.Is(err, context.DeadlineExceeded) {
				t.Error(err)
			}
		})
	}
	for range 8 {
		_, err := other.Execute(qmpPatient(t), "query-status", nil)
		require.NoError(t, err)
	}
	work.Wait()
	require.NoError(t, qemu.Signal(unix.SIGCONT))
	_, err := c.Execute(qmpPatient(t), "query-status", nil)
	require.NoError(t, err)
}
