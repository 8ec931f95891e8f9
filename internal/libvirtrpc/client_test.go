package libvirtrpc

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/digitalocean/go-libvirt"
	"github.com/stretchr/testify/require"
)

func TestHandshakeFaults(t *testing.T) {
	head := header{programRemote, version, procAuthList, typeReply, 1, statusOK}
	garbage := func(b []byte) func(*fake) {
		return func(f *fake) {
			f.next()
			_, _ = f.Write(b)
		}
	}
	answer := func(h header, payload []byte) func(*fake) { return garbage(h.message(payload)) }
	with := func(change func(*header)) header {
		h := head
		change(&h)
		return h
	}
	for name, tc := range map[string]struct {
		serve func(*fake)
		want  error
	}{
		"end":                {func(f *fake) { f.next() }, io.EOF},
		"end in a header":    {garbage(head.message(nil)[:9]), io.ErrUnexpectedEOF},
		"end in a payload":   {garbage(head.message(words(1, 0))[:30]), io.ErrUnexpectedEOF},
		"length too small":   {garbage(make([]byte, headerSize)), ErrProtocol},
		"length too big":     {garbage(append(words(0x7fffffff), make([]byte, headerSize)...)), ErrProtocol},
		"other procedure":    {answer(with(func(h *header) { h.procedure = 7 }), nil), ErrProtocol},
		"other program":      {answer(with(func(h *header) { h.program = programQEMU }), nil), ErrProtocol},
		"other serial":       {answer(with(func(h *header) { h.serial = 2 }), nil), ErrProtocol},
		"unknown status":     {answer(with(func(h *header) { h.status = 9 }), nil), ErrProtocol},
		"event":              {answer(with(func(h *header) { h.kind = typeMessage }), nil), ErrProtocol},
		"short result":       {answer(head, words(2, 0)), ErrProtocol},
		"long result":        {answer(head, words(1, 0, 0)), ErrProtocol},
		"too many ways":      {answer(head, words(1<<30)), ErrProtocol},
		"error that is none": {answer(with(func(h *header) { h.status = statusError }), words(1, 2, 3)), ErrProtocol},
		"error with a huge text": {answer(with(func(h *header) { h.status = statusError }),
			words(1, 2, 1, 0xffffffff, 0)), ErrProtocol},
		"error": {answer(with(func(h *header) { h.status = statusError }), failure(libvirt.ErrAuthFailed, "no")),
			libvirt.Error{Code: uint32(libvirt.ErrAuthFailed), Message: "no"}},
	} {
		t.Run(name, func(t *testing.T) {
			conn := faulty(t, tc.serve)
			_, err := OpenConsole(t.Context(), conn, "qemu:///system", libvirt.Domain{}, "", 0)
			require.ErrorIs(t, err, tc.want)
			_, err = conn.Write([]byte{0})
			require.ErrorIs(t, err, io.ErrClosedPipe, "the connection is closed")
		})
	}
}

func TestAuthentication(t *testing.T) {
	open := func(offer ...uint32) (polkit bool, err error) {
		conn := faulty(t, func(f *fake) {
			f.reply(f.until(procAuthList), statusOK, words(append([]uint32{uint32(len(offer))}, offer...)...))
			for h, _ := f.next(); h != (header{}); h, _ = f.next() {
				polkit = polkit || h.procedure == procAuthPolkit
				if h.procedure == procOpenConsole {
					f.reply(h, statusError, failure(libvirt.ErrNoDomain, "none"))
					return
				}
				f.reply(h, statusOK, nil)
			}
		})
		_, err = OpenConsole(t.Context(), conn, "qemu:///system", libvirt.Domain{}, "", 0)
		return polkit, err
	}
	for _, tc := range []struct {
		offer  []uint32
		polkit bool
	}{{nil, false}, {[]uint32{authNone}, false}, {[]uint32{1, authPolkit, authNone}, true}} {
		polkit, err := open(tc.offer...)
		require.True(t, refused(err, libvirt.ErrNoDomain), "%v", err)
		require.Equal(t, tc.polkit, polkit)
	}
	_, err := open(1) // SASL
	require.ErrorContains(t, err, "libvirtd.conf")
	require.False(t, errors.Is(err, ErrProtocol))
}

func TestOpenEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	conn := faulty(t, func(f *fake) {
		f.next()
		cancel()
		f.drain()
	})
	within(t, 30*time.Second, func() {
		_, err := Listen(ctx, conn, "qemu:///system", Keepalive{})
		require.ErrorIs(t, err, context.Canceled)
	})
}

func TestURIAndNamesOnTheWire(t *testing.T) {
	var opened, args []byte
	conn := faulty(t, func(f *fake) {
		f.reply(f.until(procAuthList), statusOK, words(1, authNone))
		h, payload := f.next()
		opened = payload
		f.reply(h, statusOK, nil)
		h, args = f.next()
		f.reply(h, statusError, failure(libvirt.ErrNoDomain, "none"))
	})
	dom := libvirt.Domain{Name: "five5", UUID: libvirt.UUID{1, 2}, ID: -1}
	_, err := OpenChannel(t.Context(), conn, "qemu:///session", dom, "port", libvirt.DomainChannelForce)
	require.True(t, refused(err, libvirt.ErrNoDomain))
	require.Equal(t, "\x00\x00\x00\x01\x00\x00\x00\x0fqemu:///session\x00\x00\x00\x00\x00", string(opened))
	require.Equal(t, "\x00\x00\x00\x05five5\x00\x00\x00\x01\x02"+strings.Repeat("\x00", 14)+"\xff\xff\xff\xff"+
		"\x00\x00\x00\x01\x00\x00\x00\x04port\x00\x00\x00\x01", string(args))
}

// FuzzMessages has no message make us panic, or keep more than the bound.
func FuzzMessages(f *testing.F) {
	event := header{programQEMU, version, procQEMUMonitorEvent, typeMessage, 0, statusOK}
	var e encoder
	e.uint32(1)
	e.domain(libvirt.Domain{Name: "vm"})
	e.string("STOP")
	e.uint32(0)
	e.uint32(1)
	e.uint32(2)
	e.optional("{}")
	f.Add(event.message(e))
	event.program, event.procedure = programRemote, procLifecycle
	f.Add(event.message(e[:40]))
	f.Add(header{status: statusError}.message(failure(1, "text")))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := newReader(strings.NewReader(string(b)))
		for {
			h, payload, err := r.next()
			if err != nil {
				return
			}
			require.LessOrEqual(t, len(payload), maxMessage)
			event, ok, err := decodeEvent(h, payload)
			require.False(t, ok && err != nil)
			require.LessOrEqual(t, len(event.Monitor.Details), len(payload))
			require.Error(t, decodeError(payload))
		}
	})
}
