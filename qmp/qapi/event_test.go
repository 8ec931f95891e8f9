package qapi_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/qmp"
	"github.com/maqet/maqet/qmp/qapi"
)

func TestDecode(t *testing.T) {
	event := func(name, data string) qmp.Event { return qmp.Event{Name: name, Data: json.RawMessage(data)} }
	for _, c := range []struct {
		event qmp.Event
		want  any
	}{
		{event("SHUTDOWN", `{"guest": true, "reason": "guest-shutdown"}`),
			qapi.ShutdownEvent{Guest: true, Reason: qapi.ShutdownCauseGuestShutdown}},
		{event("SHUTDOWN", `{"guest": true, "reason": "cosmic-ray", "energy": 1}`), qapi.ShutdownEvent{Guest: true, Reason: "cosmic-ray"}},
		{qmp.Event{Name: "STOP"}, qapi.StopEvent{}},
		{event("GUEST_PANICKED", `{"action": "pause", "info": {"type": "hyper-v", "arg1": 1, "arg2": 0, "arg3": 3, "arg4": 4, "arg5": 18446744073709551615}}`),
			qapi.GuestPanickedEvent{Action: qapi.GuestPanicActionPause, Info: &qapi.GuestPanicInformation{
				Type: qapi.GuestPanicInformationTypeHyperV, Arg1: 1, Arg3: 3, Arg4: 4, Arg5: 1<<64 - 1,
			}}},
		{event("MEM_UNPLUG_ERROR", `{"device": "dimm0", "msg": "no"}`), qapi.MemUnplugErrorEvent{Device: "dimm0", Msg: "no"}},
		{event("NETDEV_STREAM_CONNECTED", `{"netdev-id": "n", "addr": {"type": "unix", "path": "/x"}}`),
			qapi.NetdevStreamConnectedEvent{NetdevID: "n", Addr: qapi.SocketAddress{Type: "unix", Path: "/x"}}},
		{event("SOMETHING_NEW", `{"a": 1}`), json.RawMessage(`{"a": 1}`)},
		{qmp.Event{Name: qmp.EventGap}, json.RawMessage(nil)},
	} {
		data, err := qapi.Decode(c.event)
		require.NoError(t, err)
		require.Equal(t, c.want, data)
	}
	data, err := qapi.Decode(event("SHUTDOWN", `{"guest": 7}`))
	require.ErrorIs(t, err, errors.ErrQMP)
	require.Nil(t, data)

	stop, ok, err := qapi.As[qapi.RTCChangeEvent](event("RTC_CHANGE", `{"offset": -3, "qom-path": "/rtc"}`))
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, qapi.RTCChangeEvent{Offset: -3, QOMPath: "/rtc"}, stop)
	_, ok, err = qapi.As[qapi.RTCChangeEvent](event("STOP", `{"offset": true}`))
	require.NoError(t, err)
	require.False(t, ok)
	_, ok, err = qapi.As[qapi.RTCChangeEvent](event("RTC_CHANGE", `{"offset": true}`))
	require.ErrorIs(t, err, errors.ErrQMP)
	require.True(t, ok)
}

// events returns a client, and what sends it an event.
func events(t *testing.T) (c *qmp.Client, send func(name, data string)) {
	t.Helper()
	conn, server := net.Pipe()
	hello := make(chan error, 1)
	go func() {
		in := json.NewDecoder(server)
		fmt.Fprintln(server, `{"QMP": {"version": {"qemu": {"major": 10, "minor": 0, "micro": 0}, "package": ""}, "capabilities": []}}`)
		var request struct{ ID json.RawMessage }
		if err := in.Decode(&request); err != nil {
			hello <- err
			return
		}
		_, err := fmt.Fprintf(server, `{"return": {}, "id": %s}`+"\n", request.ID)
		hello <- err
	}()
	c = qmp.NewClient()
	t.Cleanup(func() { require.NoError(t, c.Close()); _ = server.Close() })
	require.NoError(t, c.Connect(within(t, 10*time.Second), conn))
	require.NoError(t, <-hello)
	return c, func(name, data string) {
		_, err := fmt.Fprintf(server, `{"event": %q, "data": %s, "timestamp": {"seconds": 1, "microseconds": 0}}`+"\n", name, data)
		require.NoError(t, err)
	}
}

func TestAwait(t *testing.T) {
	c, send := events(t)
	sub := c.Subscribe()
	defer sub.Close()
	ctx := within(t, 10*time.Second)
	send("STOP", `{}`)
	send("JOB_STATUS_CHANGE", `{"id": "a", "status": "running"}`)
	send("JOB_STATUS_CHANGE", `{"id": "b", "status": "concluded"}`)
	send("JOB_STATUS_CHANGE", `{"id": "a", "status": "concluded"}`)
	job, e, err := qapi.Await(ctx, sub, func(e qapi.JobStatusChangeEvent) bool {
		return e.ID == "a" && e.Status == qapi.JobStatusConcluded
	})
	require.NoError(t, err)
	require.Equal(t, qapi.JobStatusChangeEvent{ID: "a", Status: qapi.JobStatusConcluded}, job)
	require.Equal(t, time.Unix(1, 0).UTC(), e.Time.UTC())

	send("JOB_STATUS_CHANGE", `{"id": 7}`)
	job, e, err = qapi.Await[qapi.JobStatusChangeEvent](ctx, sub, nil)
	require.ErrorIs(t, err, errors.ErrQMP)
	require.Zero(t, job)
	require.Equal(t, qapi.EventJobStatusChange, e.Name)

	short, cancel := context.WithTimeout(ctx, 10*time.Millisecond)
	defer cancel()
	_, _, err = qapi.Await[qapi.StopEvent](short, sub, nil)
	require.ErrorIs(t, err, errors.ErrQMPTimeout)
	require.ErrorIs(t, err, context.DeadlineExceeded)

	send("STOP", `{}`) // of another kind than what is waited for
	require.NoError(t, c.Close())
	_, _, err = qapi.Await[qapi.ResumeEvent](ctx, sub, nil)
	require.ErrorIs(t, err, errors.ErrQMPConnection)
}
