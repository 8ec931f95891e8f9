package qmp

import (
	"context"
	"encoding/json"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
)

func TestSchemaOfQEMU(t *testing.T) {
	_, c := startQEMU(t)
	s, err := ReadSchema(within(t, 30*time.Second), c)
	require.NoError(t, err)
	for _, has := range [][]string{
		{"query-status"},
		{"screendump", "filename", "device", "head"},
		{"screendump", "format=png", "format=ppm"},
		{"blockdev-add", "driver=qcow2", "node-name", "cache.no-flush"}, // of the base
		{"blockdev-add", "file", "backing", "lazy-refcounts"},
		{"blockdev-add", "file.filename"}, // through an alternate, of itself
		{"netdev_add", "type=user", "hostfwd.str", "id"},
		{"input-send-event", "events.type=key", "events.data.key.data=ret"},
		{"chardev-add", "backend.data.addr.data.path"},
		{"object-add", "qom-type=memory-backend-memfd", "size"},
	} {
		require.True(t, s.Supports(has[0], has[1:]...), "%q", has)
	}
	for _, not := range [][]string{
		{"no-such-command"},
		{"query-status", "x"},
		{"screendump", "format=jpeg"},
		{"screendump", "format.png"},
		{"screendump", "filename=x"},
		{"screendump", "filename", "nothing"},
		{"blockdev-add", "cache=no-flush"},
		{"blockdev-add", "file.nothing"},
		{"blockdev-add", ""},
	} {
		require.False(t, s.Supports(not[0], not[1:]...), "%q", not)
	}
	require.True(t, s.HasEvent("SHUTDOWN", "guest", "reason=guest-panic"))
	require.True(t, s.HasEvent("STOP"))
	require.False(t, s.HasEvent("STOP", "reason"))
	require.False(t, s.HasEvent("NEVER"))
	require.Contains(t, s.Events(), "JOB_STATUS_CHANGE")

	known, err := Do[[]struct{ Name string }](within(t, 10*time.Second), c, "query-commands", nil)
	require.NoError(t, err)
	require.Len(t, s.Commands(), len(known))
	for _, k := range known {
		require.True(t, s.Supports(k.Name), k.Name)
	}
}

// finders is a Finder of connections by name.
type finders map[string]Conn

func (f finders) QMP(_ context.Context, ref string) (Conn, error) { return f[ref], nil }

// plain hides what a client is besides a Conn.
type plain struct{ Conn }

const smallSchema = `{"return": [{"name": "a", "meta-type": "command", "arg-type": "1", "ret-type": "0"},
 {"name": "1", "meta-type": "object", "members": [{"name": "x", "type": "1"}], "variants": [{"case": "c", "type": "1"}]}]}`

// TestSchemaIsReadOnce for a binary, by many at once; and once for each connection whose
// binary is not known.
func TestSchemaIsReadOnce(t *testing.T) {
	var asked atomic.Int32
	conn := func(binary string) Conn {
		c, server := connected(t, WithBinary(binary))
		background(t, func() {
			server.serve(func(string) string {
				asked.Add(1)
				compact, _ := json.Marshal(json.RawMessage(smallSchema))
				return string(compact)
			})
		})
		t.Cleanup(func() { require.NoError(t, c.Close()) })
		return c
	}
	m := NewManager(finders{"a": conn("q"), "b": conn("q"), "c": conn("other"), "d": plain{conn("")}, "e": plain{conn("")}})
	var work sync.WaitGroup
	for range 4 {
		for _, ref := range []string{"a", "b", "c", "d", "e"} {
			work.Go(func() {
				ok, err := m.Supports(within(t, 10*time.Second), ref, "a", "x.x.x")
				require.NoError(t, err)
				require.True(t, ok)
				ok, err = m.Supports(within(t, 10*time.Second), ref, "b")
				require.NoError(t, err)
				require.False(t, ok)
			})
		}
	}
	work.Wait()
	require.EqualValues(t, 4, asked.Load())
}

func TestSchemaErrors(t *testing.T) {
	m, _ := managed(t, func(string) string { return `{"return": {}}` })
	_, err := m.Supports(t.Context(), "web", "a")
	require.ErrorIs(t, err, errors.ErrQMP)
	require.ErrorContains(t, err, `"web"`)
	_, err = m.Supports(t.Context(), "other", "a")
	require.ErrorIs(t, err, errors.ErrVMNotFound)

	c, _ := connected(t) // never answers
	m = NewManager(oneVM{c})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	waiting := make(chan error, 1)
	go func() {
		_, err := m.Supports(ctx, "web", "a")
		waiting <- err
	}()
	_, err = m.Supports(ctx, "web", "a")
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorIs(t, soon(t, waiting), errors.ErrQMPTimeout)
}

func TestHMP(t *testing.T) {
	_, c := startQEMU(t)
	m := NewManager(oneVM{c})
	ctx := AllowDangerous(within(t, 30*time.Second))
	out, err := m.HMP(ctx, "web", "info version")
	require.NoError(t, err)
	require.Contains(t, out, c.Greeting().Version.String())
	out, err = m.HMP(ctx, "web", "no such thing")
	require.NoError(t, err, "the human monitor reports errors as text")
	require.Contains(t, out, "unknown command")

	for _, line := range []string{"", " \t", "info version\nquit", "a\rb", "a\x00b"} {
		_, err = m.HMP(ctx, "web", line)
		require.ErrorIs(t, err, errors.ErrQMP, "%q", line)
	}
	_, err = m.HMP(t.Context(), "web", "info version")
	require.ErrorIs(t, err, errors.ErrQMPDenied)
	// No other way, whatever is allowed.
	open := NewManager(oneVM{c}, WithPolicy(Policy{Dangerous: Allow}))
	_, err = open.Execute(ctx, "web", "human-monitor-command", map[string]string{"command-line": "info version"})
	require.ErrorIs(t, err, errors.ErrQMPDenied)
	_, err = open.HMP(t.Context(), "web", "info version")
	require.NoError(t, err)
}
