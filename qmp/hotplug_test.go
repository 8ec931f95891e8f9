package qmp

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
)

// plugFake is a QEMU that has the disk "x", for what a real one does not do on demand.
type plugFake struct {
	hub  *hub
	done chan struct{}
	// asked is what the guest does when it is asked to let go for the n-th time; its
	// result is QEMU's answer to device_del.
	asked func(n int) error

	mu     sync.Mutex
	device bool
	node   bool
	busy   int // how often blockdev-del is refused
	cpu    bool
	kvm    bool
	times  int
}

func newPlugFake() *plugFake {
	return &plugFake{hub: newHub(4), done: make(chan struct{}), device: true, node: true}
}

func (f *plugFake) Subscribe(names ...string) *Subscription { return f.hub.subscribe(names) }
func (f *plugFake) Done() <-chan struct{}                   { return f.done }
func (f *plugFake) Err() error                              { return errors.New("QEMU is gone") }
func (f *plugFake) Close() error                            { return nil }

func refusal(class string) error { return &errors.QMPError{Class: class, Desc: "made up"} }

func (f *plugFake) Execute(ctx context.Context, command string, args any) (json.RawMessage, error) {
	if ctx.Err() != nil {
		return nil, errors.Wrap(errors.ErrQMPTimeout, command, "", ctx.Err())
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	switch command {
	case "device_del":
		if !f.device {
			return nil, refusal("DeviceNotFound")
		}
		f.times++
		n := f.times
		f.mu.Unlock()
		err := f.asked(n)
		f.mu.Lock()
		return json.RawMessage("{}"), err
	case "qom-get":
		return f.property(fmt.Sprint(args))
	case "query-hotpluggable-cpus":
		if f.cpu {
			return json.RawMessage(`[{"type":"c","props":{},"qom-path":"/machine/peripheral/x"}]`), nil
		}
		return nil, refusal("GenericError")
	case "query-kvm":
		return fmt.Appendf(nil, `{"enabled":%v}`, f.kvm), nil
	case "query-status":
		return json.RawMessage(`{"status":"running","running":true}`), nil
	case "query-named-block-nodes":
		if f.node {
			return json.RawMessage(`[{"node-name":"x"}]`), nil
		}
		return json.RawMessage(`[]`), nil
	case "blockdev-del":
		if f.busy--; f.busy >= 0 {
			return nil, refusal("GenericError")
		}
		f.node = false
		return json.RawMessage("{}"), nil
	case "query-chardev":
		return json.RawMessage(`[]`), nil
	}
	return nil, refusal("DeviceNotFound")
}

func (f *plugFake) property(args string) (json.RawMessage, error) {
	switch {
	case !f.device || args == "map[path:/objects/x property:type]":
		return nil, refusal("DeviceNotFound")
	case args == "map[path:/machine/peripheral/x property:hotpluggable]":
		return json.RawMessage("true"), nil
	}
	return json.RawMessage(`"virtio-blk-pci"`), nil
}

// vanish takes the device away, without a word.
func (f *plugFake) vanish() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.device = false
}

func (f *plugFake) event(name, data string) {
	f.hub.publish(Event{Name: name, Data: json.RawMessage(data), Time: time.Now()})
}

// letGo is what a guest does that complies.
func (f *plugFake) letGo(int) error {
	f.event(eventDeleted, `{"path":"/machine/peripheral/other/virtio-backend"}`)
	f.event(eventDeleted, `{"device":"other","path":"/machine/peripheral/other"}`)
	f.vanish()
	f.event(eventDeleted, `{"device":"x","path":"/machine/peripheral/x"}`)
	return nil
}

// TestUnplug has the ways in which an unplug ends.
func TestUnplug(t *testing.T) {
	for name, c := range map[string]struct {
		asked func(f *plugFake, n int) error
		kind  error
		text  string
	}{
		"complies": {asked: (*plugFake).letGo},
		"goes while it is asked": {asked: func(f *plugFake, _ int) error {
			f.vanish()
			return refusal("DeviceNotFound")
		}},
		"refuses": {asked: func(f *plugFake, _ int) error {
			f.event(eventRefused, `{"device":"other","path":"/x"}`)
			f.event(eventRefused, `{"device":"x","path":"/x"}`)
			return nil
		}, kind: errors.ErrDeviceBusy, text: "refused"},
		"refuses to give memory back": {asked: func(f *plugFake, _ int) error {
			f.event(eventMemRefused, `{"device":"x","msg":"still in use"}`)
			return nil
		}, kind: errors.ErrDeviceBusy, text: "still in use"},
		"does not answer":         {asked: func(*plugFake, int) error { return nil }, kind: errors.ErrDeviceBusy, text: "has not let go of it: no answer in 300ms"},
		"an earlier call's plea":  {asked: func(f *plugFake, n int) error { _ = f.letGo(n); return refusal("GenericError") }},
		"a plea without an end":   {asked: func(*plugFake, int) error { return refusal("GenericError") }, kind: errors.ErrDeviceBusy, text: "made up"},
		"a new connection":        {asked: func(f *plugFake, _ int) error { f.vanish(); f.event(EventGap, ""); return nil }},
		"a new connection, still": {asked: func(f *plugFake, _ int) error { f.event(EventGap, ""); return nil }, kind: errors.ErrDeviceBusy},
		"lost events": {asked: func(f *plugFake, _ int) error {
			for range 20 {
				f.event(eventDeleted, `{"device":"other"}`)
			}
			f.vanish()
			return nil
		}},
		"QEMU ends": {asked: func(f *plugFake, _ int) error { f.hub.end(); return nil }, kind: errors.ErrQMPConnection, text: "QEMU is gone"},
		"garbage":   {asked: func(f *plugFake, _ int) error { f.event(eventDeleted, `7`); return nil }, kind: errors.ErrQMP},
	} {
		t.Run(name, func(t *testing.T) {
			f := newPlugFake()
			f.asked = func(n int) error { return c.asked(f, n) }
			rec := &recorder{}
			m := NewManager(oneVM{f}, WithRecorder(rec), UnplugTimeout(300*time.Millisecond))
			err := m.RemoveDevice(t.Context(), "web", "x")
			if c.kind == nil {
				require.NoError(t, err)
				require.False(t, f.node)
				require.Equal(t, []string{"x"}, rec.removed)
				return
			}
			require.ErrorIs(t, err, c.kind)
			require.ErrorContains(t, err, c.text)
			require.True(t, f.node, "the device may still use it")
			require.Empty(t, rec.removed)
			f.asked = f.letGo
			if !errors.Is(err, errors.ErrQMPConnection) {
				require.NoError(t, m.RemoveDevice(t.Context(), "web", "x"), "a later call works")
				require.False(t, f.node)
			}
		})
	}
}

// TestUnplugIsRepeated: a system that boots loses the first request.
func TestUnplugIsRepeated(t *testing.T) {
	f := newPlugFake()
	f.asked = func(n int) error {
		if n == 1 {
			return nil
		}
		return f.letGo(n)
	}
	require.NoError(t, NewManager(oneVM{f}).RemoveDevice(t.Context(), "web", "x"))
	require.Equal(t, 2, f.times)
}

// TestUnplugCancelled returns at once, and says that the device is still there.
func TestUnplugCancelled(t *testing.T) {
	f := newPlugFake()
	ctx, cancel := context.WithCancel(t.Context())
	var at time.Time
	f.asked = func(int) error {
		time.AfterFunc(50*time.Millisecond, func() { at = time.Now(); cancel() })
		return nil
	}
	err := NewManager(oneVM{f}).RemoveDevice(ctx, "web", "x")
	require.Less(t, time.Since(at), 2*time.Second)
	require.ErrorIs(t, err, errors.ErrDeviceBusy)
	require.ErrorIs(t, err, context.Canceled)
}

// TestUnplugTwice: both calls are told when it is gone.
func TestUnplugTwice(t *testing.T) {
	f := newPlugFake()
	both := make(chan struct{}, 2)
	f.asked = func(n int) error {
		if both <- struct{}{}; n == 2 {
			return f.letGo(n)
		}
		return nil
	}
	m := NewManager(oneVM{f})
	errs := make(chan error, 2)
	for range 2 {
		go func() { errs <- m.RemoveDevice(t.Context(), "web", "x") }()
	}
	require.NoError(t, soon(t, errs))
	require.NoError(t, soon(t, errs))
	require.False(t, f.node)
}

// TestUnplugWaitsForTheDisk: QEMU may need a moment until a disk's node is free.
func TestUnplugWaitsForTheDisk(t *testing.T) {
	f := newPlugFake()
	f.asked, f.busy = f.letGo, 5
	require.NoError(t, NewManager(oneVM{f}).RemoveDevice(t.Context(), "web", "x"))
	require.False(t, f.node)

	f = newPlugFake()
	f.asked, f.busy = f.letGo, 1<<30
	err := NewManager(oneVM{f}).RemoveDevice(t.Context(), "web", "x")
	require.ErrorIs(t, err, errors.ErrDeviceBusy)
	require.ErrorContains(t, err, "blockdev x")
	f.busy = 0
	require.NoError(t, NewManager(oneVM{f}).RemoveDevice(t.Context(), "web", "x"), "a later call clears it")
}

// TestUnplugCPU: QEMU can free a CPU under KVM only.
func TestUnplugCPU(t *testing.T) {
	f := newPlugFake()
	f.asked, f.cpu = f.letGo, true
	m := NewManager(oneVM{f})
	err := m.RemoveDevice(t.Context(), "web", "x")
	require.ErrorIs(t, err, errors.ErrQMPUnsupported)
	require.Zero(t, f.times, "it was not even asked")
	f.kvm = true
	require.NoError(t, m.RemoveDevice(t.Context(), "web", "x"))
}

// TestUnrecorded: what QEMU did is not undone because it could not be recorded.
func TestUnrecorded(t *testing.T) {
	f := newPlugFake()
	f.asked = f.letGo
	full := errors.New("disk full")
	err := NewManager(oneVM{f}, WithRecorder(&recorder{err: full})).RemoveDevice(t.Context(), "web", "x")
	require.ErrorIs(t, err, errors.ErrState)
	require.ErrorIs(t, err, full)
	require.False(t, f.node)

	rig := newPlugRig(t, 1, portArgs(1)...)
	err = rig.manager(WithRecorder(&recorder{err: full})).AddDevice(t.Context(), "web", Device{ID: "rng", RNG: &RNG{}})
	require.ErrorIs(t, err, errors.ErrState)
	require.ErrorIs(t, err, full)
	require.Equal(t, []string{"rng"}, rig.devices())
}
