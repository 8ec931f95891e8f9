package qmp

import (
	"context"
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
)

func TestRelay(t *testing.T) {
	var asked []string
	r := NewRelay(func(_ context.Context, request []byte) ([]byte, error) {
		asked = append(asked, string(request))
		return []byte(`{"return": {}, "id": "of-its-own"}`), nil
	})
	sub := r.Subscribe("STOP")
	_, err := r.Execute(t.Context(), "stop", nil)
	require.ErrorIs(t, err, errors.ErrQMPConnection)
	require.NoError(t, r.Err())

	r.Open()
	out, err := r.Execute(t.Context(), "stop", map[string]string{"a": "é"})
	require.NoError(t, err)
	require.JSONEq(t, `{}`, string(out))
	require.Equal(t, []string{`{"execute":"stop","arguments":{"a":"\u00e9"}}` + "\n"}, asked)
	r.Publish(Event{Name: "RESUME"})
	r.Publish(Event{Name: "STOP", Time: time.Now()})
	r.Publish(Event{Name: EventGap})
	require.Equal(t, "STOP", soon(t, sub.C()).Name)
	require.Equal(t, EventGap, soon(t, sub.C()).Name)

	sticky := r.End(io.ErrUnexpectedEOF)
	require.ErrorIs(t, sticky, errors.ErrQMPConnection)
	require.Equal(t, sticky, r.End(io.EOF))
	closed(t, r.Done())
	closed(t, sub.C())
	closed(t, r.Subscribe().C())
	_, err = r.Execute(t.Context(), "stop", nil)
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	require.NoError(t, r.Close())
	require.NoError(t, r.Close())
}

func TestRelayErrors(t *testing.T) {
	for name, tc := range map[string]struct {
		reply string
		err   error
		kind  *errors.Kind
	}{
		"QEMU's":       {reply: `{"error": {"class": "DeviceNotFound", "desc": "no"}}`, kind: errors.ErrQMPCommand},
		"nonsense":     {reply: `no JSON`, kind: errors.ErrQMP},
		"carrier's":    {err: io.EOF, kind: errors.ErrQMPConnection},
		"its QMPError": {err: &errors.QMPError{Class: "GenericError", Desc: "no"}, kind: errors.ErrQMPCommand},
		"its kind":     {err: errors.Wrap(errors.ErrQMPUnsupported, "", "", io.EOF), kind: errors.ErrQMPUnsupported},
		"its host":     {err: errors.Wrap(errors.ErrLibvirtConnection, "", "", io.EOF), kind: errors.ErrQMPConnection},
	} {
		t.Run(name, func(t *testing.T) {
			r := NewRelay(func(context.Context, []byte) ([]byte, error) { return []byte(tc.reply), tc.err })
			r.Open()
			_, err := r.Execute(t.Context(), "x", nil)
			require.Equal(t, tc.kind, errors.KindOf(err))
			require.ErrorContains(t, err, "QMP x")
			if tc.err != nil && tc.kind != errors.ErrQMPCommand {
				require.ErrorIs(t, err, tc.err)
			}
			require.NoError(t, r.Err(), "it goes on")
			require.NoError(t, r.Close())
		})
	}
}

// A command that nobody waits for any more delays the next one, and no one else: neither
// who gives up, nor Close.
func TestRelayThatIsStuck(t *testing.T) {
	r := NewRelay(func(ctx context.Context, _ []byte) ([]byte, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	})
	r.Open()
	for range 2 { // under way, then waiting for its turn
		_, err := r.Execute(within(t, 20*time.Millisecond), "x", nil)
		require.ErrorIs(t, err, errors.ErrQMPTimeout)
		require.ErrorIs(t, err, context.DeadlineExceeded)
	}
	waiting := execute(t.Context(), r, "x", nil)
	require.NoError(t, r.Close())
	require.ErrorIs(t, soon(t, waiting).err, errors.ErrQMPConnection)
}
