package libvirtrpc

import (
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/digitalocean/go-libvirt"
	"github.com/stretchr/testify/require"
)

// fake is a libvirtd for faults that the real one has not.
type fake struct {
	net.Conn
	r *reader
}

// faulty returns a connection to a fake that runs serve, and closes it afterwards.
func faulty(t testing.TB, serve func(f *fake)) net.Conn {
	t.Helper()
	ours, theirs := net.Pipe()
	var work sync.WaitGroup
	work.Go(func() {
		defer theirs.Close()
		serve(&fake{theirs, newReader(theirs)})
	})
	t.Cleanup(func() {
		_ = ours.Close()
		work.Wait()
	})
	return ours
}

// send sends a message; errors show on the other side.
func (f *fake) send(h header, payload []byte) { _, _ = f.Write(h.message(payload)) }

// next returns the next message; a zero header when there is none.
func (f *fake) next() (header, []byte) {
	h, payload, err := f.r.next()
	if err != nil {
		return header{}, nil
	}
	return h, payload
}

// reply answers a call.
func (f *fake) reply(call header, status uint32, payload []byte) {
	call.kind, call.status = typeReply, status
	f.send(call, payload)
}

// until answers calls in order, up to the first of a procedure, which it returns.
func (f *fake) until(procedure uint32) header {
	for {
		h, _ := f.next()
		switch {
		case h == (header{}) || h.procedure == procedure:
			return h
		case h.procedure == procAuthList:
			f.reply(h, statusOK, words(1, authNone))
		case h.procedure == procSupportsFeature:
			f.reply(h, statusOK, words(1))
		case h.procedure == procRegisterAny || h.procedure == procQEMURegister && h.program == programQEMU:
			f.reply(h, statusOK, words(1))
		default:
			f.reply(h, statusOK, nil)
		}
	}
}

// drain reads until the client has gone.
func (f *fake) drain() {
	_, _ = io.Copy(io.Discard, f)
}

func words(v ...uint32) []byte {
	var e encoder
	for _, w := range v {
		e.uint32(w)
	}
	return e
}

// failure is the payload of an error message.
func failure(code libvirt.ErrorNumber, text string) []byte {
	var e encoder
	e.uint32(uint32(code))
	e.uint32(10)
	e.optional(text)
	e.uint32(2)
	e.uint32(0)
	e.optional(text)
	e.optional("")
	e.optional("")
	e.uint32(0)
	e.uint32(0)
	e.uint32(0)
	return e
}

// fakeStream opens a stream of a fake. serve gets it with the header of its data.
func fakeStream(t testing.TB, serve func(f *fake, data header)) (net.Conn, error) {
	t.Helper()
	return OpenChannel(t.Context(), faulty(t, func(f *fake) {
		call := f.until(procOpenChannel)
		data := call
		data.kind, data.status = typeStream, statusContinue
		f.reply(call, statusOK, nil)
		serve(f, data)
	}), "qemu:///system", libvirt.Domain{Name: "vm"}, "", 0)
}

// fakeEvents listens to a fake.
func fakeEvents(t testing.TB, keepalive Keepalive, serve func(f *fake)) *Events {
	t.Helper()
	e, err := Listen(t.Context(), faulty(t, func(f *fake) {
		f.reply(f.until(procSupportsFeature), statusOK, words(1))
		serve(f)
	}), "qemu:///system", keepalive)
	require.NoError(t, err)
	t.Cleanup(func() { _ = e.Close() })
	return e
}

// within fails a test that takes so long that something must be stuck.
func within(t testing.TB, d time.Duration, fn func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		fn()
	}()
	select {
	case <-done:
	case <-time.After(d):
		t.Fatal("stuck")
	}
}
