package libvirtrpc

import (
	"bytes"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/digitalocean/go-libvirt"
	"github.com/stretchr/testify/require"
)

func TestStreamEndings(t *testing.T) {
	for name, tc := range map[string]struct {
		serve func(f *fake, data header)
		want  error
	}{
		"source ended": {func(f *fake, h header) { f.send(h, nil) }, nil},
		"finished":     {func(f *fake, h header) { h.status = statusOK; f.send(h, nil) }, nil},
		"error": {func(f *fake, h header) { h.status = statusError; f.send(h, failure(libvirt.ErrRPC, "gone")) },
			libvirt.Error{Code: uint32(libvirt.ErrRPC), Message: "gone"}},
		"error of writing": {func(f *fake, h header) { f.reply(h, statusError, failure(libvirt.ErrSystemError, "pipe")) },
			libvirt.Error{Code: uint32(libvirt.ErrSystemError), Message: "pipe"}},
		"error that is none": {func(f *fake, h header) { h.status = statusError; f.send(h, nil) }, ErrProtocol},
		"lost":               {func(*fake, header) {}, io.ErrUnexpectedEOF},
		"lost in data": {func(f *fake, h header) { _, _ = f.Write(h.message([]byte("more"))[:headerSize]) },
			io.ErrUnexpectedEOF},
		"another stream": {func(f *fake, h header) { h.serial++; f.send(h, []byte("x")) }, ErrProtocol},
		"unknown status": {func(f *fake, h header) { h.status = 3; f.send(h, []byte("x")) }, ErrProtocol},
		"a hole":         {func(f *fake, h header) { h.kind = 6; f.send(h, []byte("x")) }, ErrProtocol},
		"too long":       {func(f *fake, _ header) { _, _ = f.Write(bytes.Repeat([]byte{0xff}, headerSize)) }, ErrProtocol},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := fakeStream(t, func(f *fake, data header) {
				f.send(data, []byte("text"))
				tc.serve(f, data)
			})
			require.NoError(t, err)
			text, err := io.ReadAll(s)
			require.Equal(t, "text", string(text))
			if tc.want == nil {
				require.NoError(t, err)
			} else {
				require.ErrorIs(t, err, tc.want)
			}
			_, again := s.Read(make([]byte, 1))
			if tc.want != nil {
				require.Equal(t, err, again)
			}
			within(t, 30*time.Second, func() { require.NoError(t, s.Close()) })
			_, err = s.Read(make([]byte, 1))
			require.ErrorIs(t, err, net.ErrClosed)
			_, err = s.Write([]byte{1})
			require.ErrorIs(t, err, net.ErrClosed)
			require.ErrorIs(t, s.SetDeadline(time.Time{}), net.ErrClosed)
		})
	}
}

// libvirtd's thread that sends data can be quicker than the one that says the stream is open.
func TestStreamDataBeforeTheReply(t *testing.T) {
	open := func(size int, status uint32) (net.Conn, error) {
		return OpenConsole(t.Context(), faulty(t, func(f *fake) {
			call := f.until(procOpenConsole)
			data := call
			data.kind, data.status = typeStream, status
			f.send(data, make([]byte, size/2))
			f.send(data, make([]byte, size-size/2))
			f.reply(call, statusOK, nil)
			f.send(data, []byte("later"))
			data.status = statusOK
			f.send(data, nil)
			f.drain()
		}), "qemu:///system", libvirt.Domain{}, "", 0)
	}
	s, err := open(100_000, statusContinue)
	require.NoError(t, err)
	text, err := io.ReadAll(s)
	require.NoError(t, err)
	require.Equal(t, 100_005, len(text))
	require.NoError(t, s.Close())
	_, err = open(maxEarly+2, statusContinue)
	require.ErrorIs(t, err, ErrProtocol)
}

// What a deadline interrupts goes on afterwards: nothing is lost or sent twice.
func TestStreamGoesOnAfterDeadlines(t *testing.T) {
	goOn := make(chan struct{})
	got := make(chan []byte, 1)
	s, err := fakeStream(t, func(f *fake, data header) {
		message := data.message([]byte("abcdef"))
		for _, part := range [][]byte{message[:5], message[5 : headerSize+2], message[headerSize+2:]} {
			_, _ = f.Write(part)
			<-goOn
		}
		f.send(header{programKeepalive, version, procPing, typeMessage, 0, statusOK}, nil)
		var all []byte
		for {
			h, payload := f.next()
			if h.program == programKeepalive {
				continue
			}
			if h.status != statusContinue {
				got <- all
				f.send(h, nil)
				return
			}
			if len(payload) > maxChunk {
				panic("too long")
			}
			all = append(all, payload...)
		}
	})
	require.NoError(t, err)
	var text []byte
	buf := make([]byte, 10)
	for range 3 {
		require.NoError(t, s.SetReadDeadline(time.Now().Add(20*time.Millisecond)))
		n, err := s.Read(buf)
		text = append(text, buf[:n]...)
		if err == nil {
			_, err = s.Read(buf)
		}
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		goOn <- struct{}{}
	}
	require.Equal(t, "abcdef", string(text))
	require.NoError(t, s.SetReadDeadline(time.Time{}))
	go func() { _, _ = s.Read(buf) }() // answers the ping

	sent := bytes.Repeat([]byte("0123456789"), 100_000)
	var n int
	for n < len(sent) {
		require.NoError(t, s.SetWriteDeadline(time.Now().Add(time.Millisecond)))
		k, err := s.Write(sent[n:])
		n += k
		if err != nil {
			require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		}
	}
	require.NoError(t, s.Close())
	require.True(t, bytes.Equal(sent, <-got))
}

// A libvirtd that hangs can't keep us.
func TestStreamCloseIsBounded(t *testing.T) {
	stuck := make(chan struct{})
	s, err := fakeStream(t, func(*fake, header) { <-stuck })
	require.NoError(t, err)
	defer close(stuck)
	ended := make(chan error, 2)
	go func() { _, err := s.Read(make([]byte, 1)); ended <- err }()
	go func() { _, err := s.Write(make([]byte, 1)); ended <- err }()
	within(t, 30*time.Second, func() {
		require.NoError(t, s.Close())
		require.NoError(t, s.Close())
		require.ErrorIs(t, <-ended, net.ErrClosed)
		require.ErrorIs(t, <-ended, net.ErrClosed)
	})
}
