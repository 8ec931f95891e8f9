package qmp

import (
	"context"
	"encoding/json"
	"sync"

	goqemu "github.com/digitalocean/go-qemu/qmp"

	"github.com/maqet/maqet/errors"
)

// AsMonitor returns a go-qemu Monitor on a connection, for programs that are written
// against that interface. Connect does nothing but report a connection that is lost,
// Disconnect closes c, Run executes one command and returns its whole reply, Events
// delivers until its context ends or the connection does. Unlike go-qemu's own
// monitor it can be used by many goroutines, and an event that is not read delays
// nobody.
func AsMonitor(c Conn) goqemu.Monitor {
	return &monitor{conn: c, quit: make(chan struct{})}
}

type monitor struct {
	conn Conn
	quit chan struct{} // closed by Disconnect

	mu      sync.Mutex
	left    bool // Disconnect was called
	streams sync.WaitGroup
}

var _ goqemu.Monitor = (*monitor)(nil)

func (m *monitor) Connect() error { return m.conn.Err() }

func (m *monitor) Disconnect() error {
	m.mu.Lock()
	if !m.left {
		m.left = true
		close(m.quit)
	}
	m.mu.Unlock()
	err := m.conn.Close()
	m.streams.Wait()
	return err
}

func (m *monitor) Run(command []byte) ([]byte, error) {
	var in struct {
		Execute   string          `json:"execute"`
		Arguments json.RawMessage `json:"arguments"`
		ID        json.RawMessage `json:"id"`
	}
	if err := json.Unmarshal(command, &in); err != nil {
		return nil, errors.Wrap(errors.ErrQMP, "QMP command", "", err)
	}
	var args any
	if in.Arguments != nil {
		args = in.Arguments
	}
	out, err := m.conn.Execute(context.Background(), in.Execute, args)
	if err != nil {
		return nil, err
	}
	return json.Marshal(struct {
		Return json.RawMessage `json:"return"`
		ID     json.RawMessage `json:"id,omitempty"`
	}{out, in.ID})
}

func (m *monitor) Events(ctx context.Context) (<-chan goqemu.Event, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.left {
		return nil, m.conn.Err()
	}
	out := make(chan goqemu.Event)
	sub := m.conn.Subscribe()
	m.streams.Go(func() {
		defer close(out)
		defer sub.Close()
		m.stream(ctx, sub, out)
	})
	return out, nil
}

func (m *monitor) stream(ctx context.Context, sub *Subscription, out chan<- goqemu.Event) {
	for {
		select {
		case e, ok := <-sub.C():
			if !ok {
				return
			}
			select {
			case out <- goqemuEvent(e):
			case <-ctx.Done():
				return
			case <-m.quit:
				return
			}
		case <-ctx.Done():
			return
		case <-m.quit:
			return
		}
	}
}

func goqemuEvent(e Event) goqemu.Event {
	out := goqemu.Event{Event: e.Name}
	_ = e.Decode(&out.Data) // QEMU's data is an object; anything else has no place there
	out.Timestamp.Seconds = e.Time.Unix()
	out.Timestamp.Microseconds = int64(e.Time.Nanosecond() / 1000)
	return out
}
