package backendtest_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/qmp"
	"github.com/maqet/maqet/vm"
	"github.com/maqet/maqet/vm/backendtest"
)

// host is a place of guests that exist in this process only. breaks names the promise that its
// backends break; empty: none.
type host struct {
	dir    string
	breaks string

	mu       sync.Mutex
	machines map[string]*machine // by the VM's ID, from Launch to Clean
}

// machine is a guest.
type machine struct {
	host  *host
	id    string
	owner *backend // who ends it; nil: nobody
	rt    vm.Runtime
	users map[string]chan struct{} // each channel's: has room for one

	mu      sync.Mutex
	running bool
	exit    errors.ExitStatus
	relays  []*qmp.Relay
	done    chan struct{}
	once    sync.Once
}

func (h *host) does(what string) bool { return h.breaks == what }

// fakeHarness makes a place whose backends break one promise.
func fakeHarness(breaks string) func(tb testing.TB) backendtest.Harness {
	return func(tb testing.TB) backendtest.Harness {
		h := &host{dir: tb.TempDir(), breaks: breaks, machines: map[string]*machine{}}
		return backendtest.Harness{
			Open: func(testing.TB) vm.Backend { return &backend{host: h} },
			Kill: func(_ testing.TB, inst vm.Instance) {
				if m := h.machine(inst.ID); m != nil {
					m.end(errors.ExitStatus{Known: true, Signal: "SIGKILL"})
				}
			},
			Left: func(tb testing.TB) (left []string) {
				h.mu.Lock()
				defer h.mu.Unlock()
				for id := range h.machines {
					left = append(left, "machine "+id)
				}
				logs, err := filepath.Glob(filepath.Join(h.dir, "*.log"))
				require.NoError(tb, err)
				return append(left, logs...)
			},
		}
	}
}

func (h *host) machine(id string) *machine {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.machines[id]
}

// end ends the machine.
func (m *machine) end(exit errors.ExitStatus) {
	m.once.Do(func() {
		m.mu.Lock()
		m.exit = exit
		relays := m.relays
		m.mu.Unlock()
		if exit.Signal != "SIGKILL" {
			m.tell("SHUTDOWN", `{"guest":false,"reason":"host-qmp-quit"}`)
		}
		for _, r := range relays {
			_ = r.End(errors.New("the machine has ended"))
		}
		if !m.host.does("Done is never closed") {
			close(m.done)
		}
	})
}

func (m *machine) gone() bool {
	select {
	case <-m.done:
		return true
	default:
		return false
	}
}

// tell tells everybody an event.
func (m *machine) tell(name, data string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range m.relays {
		r.Publish(qmp.Event{Name: name, Data: json.RawMessage(data), Time: time.Now()})
	}
}

// answer is what the machine's QEMU says to a command.
func (m *machine) answer(_ context.Context, request []byte) ([]byte, error) {
	var req struct {
		Execute   string
		Arguments map[string]any
	}
	if err := json.Unmarshal(request, &req); err != nil {
		return nil, err
	}
	refuse := func(class, text string) ([]byte, error) {
		return fmt.Appendf(nil, `{"error":{"class":%q,"desc":%q}}`, class, text), nil
	}
	switch req.Execute {
	case "query-status":
		m.mu.Lock()
		defer m.mu.Unlock()
		return fmt.Appendf(nil, `{"return":{"status":"x","running":%v}}`, m.running), nil
	case "cont", "stop":
		m.run(req.Execute == "cont")
		return []byte(`{"return":{}}`), nil
	case "query-qmp-schema":
		return []byte(`{"return":[` + strings.Repeat(`{"name":"x"},`, 999) + `{"name":"x"}]}`), nil
	case "qom-list":
		return refuse("GenericError", fmt.Sprintf("Device '%v' not found", req.Arguments["path"]))
	case "device_del":
		if req.Arguments["id"] != nil {
			return refuse("DeviceNotFound", "none such")
		}
		return refuse("GenericError", "unexpected argument")
	}
	return refuse("CommandNotFound", "no "+req.Execute)
}

func (m *machine) run(on bool) {
	m.mu.Lock()
	changed := m.running != on
	m.running = on
	m.mu.Unlock()
	switch {
	case changed && on:
		m.tell("RESUME", "{}")
	case changed:
		m.tell("STOP", "{}")
	}
}

// backend is a vm.Backend of a host.
type backend struct {
	host   *host
	mu     sync.Mutex
	closed bool
}

func (b *backend) Check(_ context.Context, _ string, cfg vm.Config) error {
	if cfg.Machine == "no-such-machine" && !b.host.does("Check finds nothing") {
		return &errors.ConfigError{Problems: []errors.Problem{{Field: "machine", Value: cfg.Machine, Message: "is none"}}}
	}
	return nil
}

func (b *backend) Launch(ctx context.Context, spec vm.LaunchSpec) (vm.Guest, error) {
	h := b.host
	if ctx.Err() != nil && !h.does("Launch ignores its context") {
		return nil, context.Cause(ctx)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed && !h.does("Launch works after Close") {
		return nil, errors.New("closed")
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if old := h.machines[spec.ID]; old != nil && !h.does("an ID is launched twice") {
		return nil, errors.ErrVMAlreadyRunning
	}
	m := &machine{host: h, id: spec.ID, done: make(chan struct{}), users: map[string]chan struct{}{}, running: h.does("CPUs run at launch")}
	if spec.Config.Lifetime != vm.Persistent {
		m.owner = b
	}
	m.rt = vm.Runtime{Backend: "process", Accel: "tcg", Machine: "pc-q35-7.2", Disks: spec.Images,
		Console: filepath.Join(h.dir, spec.ID+".log"), Sockets: map[string]string{}}
	for i, n := range spec.Config.Networks {
		m.rt.Cards = append(m.rt.Cards, vm.Card{Name: n.NameAt(i), MAC: n.MAC})
	}
	channels := []string{vm.ChannelAgent, vm.ChannelStream0, vm.ChannelStream1, vm.ChannelConsole}
	if spec.Config.Agent.Disabled {
		channels = channels[3:]
	}
	if spec.Config.Console.Disabled {
		channels, m.rt.Console = channels[:len(channels)-1], ""
	} else if err := os.WriteFile(m.rt.Console, nil, 0o600); err != nil {
		return nil, err
	}
	for _, name := range channels {
		m.rt.Sockets[name], m.users[name] = name, make(chan struct{}, 1)
	}
	h.machines[spec.ID] = m
	return b.guest(m), nil
}

func (b *backend) Attach(ctx context.Context, inst vm.Instance) (vm.Guest, error) {
	h := b.host
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	m := h.machine(inst.ID)
	if h.does("Attach finds strangers") && m == nil {
		for _, any := range h.machines {
			m = any
		}
	}
	if m == nil || m.gone() && !h.does("Attach finds the dead") {
		return nil, errors.ErrVMNotRunning
	}
	g := b.guest(m)
	if h.does("Attach continues the guest") {
		m.run(true)
	}
	return g, g.Connect(ctx)
}

func (b *backend) Clean(_ context.Context, inst vm.Instance) error {
	h := b.host
	h.mu.Lock()
	defer h.mu.Unlock()
	if m := h.machines[inst.ID]; m == nil && h.does("Clean works once") {
		return errors.New("nothing to clean")
	} else if m != nil && m.gone() && !h.does("Clean forgets something") {
		delete(h.machines, inst.ID)
	}
	if h.does("Clean takes the neighbour, too") {
		for _, m := range h.machines {
			go m.end(errors.ExitStatus{})
		}
	}
	return nil
}

func (b *backend) Erase(ctx context.Context, inst vm.Instance) error {
	err := b.Clean(ctx, inst)
	if !b.host.does("Erase keeps the logs") {
		_ = os.Remove(filepath.Join(b.host.dir, inst.ID+".log"))
	}
	return err
}

func (b *backend) Timeouts(_ context.Context, cfg vm.Config) vm.Timeouts {
	factor := vm.Duration(4 * time.Second)
	if b.host.does("time-outs are not scaled") {
		factor = vm.Duration(time.Second)
	}
	t := vm.Timeouts{Launch: 15 * factor, Ready: 60 * factor, Silence: 20 * factor, Stop: 10 * factor}
	for set, to := range map[*vm.Duration]vm.Duration{&t.Launch: cfg.Timeouts.Launch, &t.Ready: cfg.Timeouts.Ready,
		&t.Silence: cfg.Timeouts.Silence, &t.Stop: cfg.Timeouts.Stop} {
		if to > 0 {
			*set = to
		}
	}
	return t
}

func (b *backend) Close() error {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	h := b.host
	h.mu.Lock()
	defer h.mu.Unlock()
	for id, m := range h.machines {
		mine := m.owner == b || m.owner == nil && h.does("Close ends persistent guests")
		if mine && !h.does("Close ends nothing") {
			m.end(errors.ExitStatus{Known: true, Signal: "SIGKILL"})
			delete(h.machines, id)
		}
	}
	return nil
}
