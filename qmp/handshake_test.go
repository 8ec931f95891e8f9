package qmp

import (
	"context"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
)

func TestHandshakeTraps(t *testing.T) {
	const ok = `{"return": {}}`
	for name, script := range map[string]func(*fake){
		"event first": func(f *fake) {
			f.send(stopEvent, greeting)
			f.expectHandshake()
			f.send(resumeEvent, ok)
		},
		"event glued to greeting and reply": func(f *fake) {
			f.send(greeting, stopEvent)
			f.expectHandshake()
			f.send(ok, resumeEvent)
		},
		"event between greeting and reply": func(f *fake) {
			f.send(greeting)
			f.expectHandshake()
			f.send(stopEvent)
			f.send(resumeEvent)
			f.send(ok)
		},
		"byte by byte": func(f *fake) {
			f.drip(stopEvent + "\r\n" + greeting + "\r\n")
			f.expectHandshake()
			f.drip(ok + "\r\n" + resumeEvent + "\r\n")
		},
		"blank lines": func(f *fake) {
			f.send("", stopEvent, "", greeting, " ", "")
			f.expectHandshake()
			f.send("", ok, "", resumeEvent)
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := NewClient()
			defer c.Close()
			sub := c.Subscribe()
			conn, server := pair(t)
			background(t, func() { script(server) })
			require.NoError(t, c.Connect(within(t, 10*time.Second), conn))
			require.Equal(t, "STOP", soon(t, sub.C()).Name)
			require.Equal(t, "RESUME", soon(t, sub.C()).Name)

			got := execute(t.Context(), c, "query-status", nil)
			server.expect(`{"execute":"query-status"}`)
			server.send(`{"return": "status"}`)
			require.Equal(t, answer{`"status"`, nil}, soon(t, got))
		})
	}
}

func (f *fake) expectHandshake() (id string) {
	id, err := f.handshake()
	require.NoError(f.t, err)
	return id
}

// drip sends text in single bytes.
func (f *fake) drip(text string) {
	for i := range len(text) {
		_, err := f.conn.Write([]byte(text[i : i+1]))
		require.NoError(f.t, err)
	}
}

func TestNoGreeting(t *testing.T) {
	for name, c := range map[string]*Client{
		"context": NewClient(),
		"limit":   NewClient(HandshakeTimeout(50 * time.Millisecond)),
	} {
		t.Run(name, func(t *testing.T) {
			defer c.Close()
			ctx := t.Context()
			if name == "context" {
				ctx = within(t, 50*time.Millisecond)
			}
			conn, server := pair(t)
			start := time.Now()
			err := c.Connect(ctx, conn)
			require.Less(t, time.Since(start), 2*time.Second)
			require.ErrorIs(t, err, errors.ErrQMPConnection)
			require.ErrorIs(t, err, errors.ErrQMPTimeout)
			require.ErrorIs(t, err, context.DeadlineExceeded)
			require.ErrorContains(t, err, "another client")
			_, err = server.in.ReadByte()
			require.ErrorIs(t, err, io.EOF, "the connection was left open")
		})
	}
}

func TestNoReplyToTheHandshake(t *testing.T) {
	c := NewClient()
	defer c.Close()
	conn, server := pair(t)
	server.send(greeting)
	err := c.Connect(within(t, 50*time.Millisecond), conn)
	require.ErrorIs(t, err, errors.ErrQMPConnection)
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

func TestHandshakeRefused(t *testing.T) {
	c := NewClient()
	defer c.Close()
	conn, server := pair(t)
	background(t, func() {
		server.send(greeting)
		server.send(`{"error": {"class": "GenericError", "desc": "no"}, "id": ` + server.expectHandshake() + `}`)
	})
	err := c.Connect(within(t, 10*time.Second), conn)
	require.ErrorIs(t, err, errors.ErrQMPConnection)
	require.ErrorIs(t, err, errors.ErrQMPCommand)

	// The client is as it was: another connection will do.
	require.NoError(t, c.Err())
	reconnected(t, c)
	require.ErrorIs(t, c.Connect(t.Context(), conn), errors.ErrQMP, "a second connection")
}

// What an earlier client of the monitor asked for is answered to us.
func TestRepliesToAnEarlierClientAreDropped(t *testing.T) {
	for name, stale := range map[string]string{
		"value":   `{"return": {"n": 1}}`,
		"empty":   `{"return": {}}`, // could be the handshake's
		"error":   `{"error": {"class": "GenericError", "desc": "no"}}`,
		"with id": `{"return": {}, "id": "libvirt-5"}`,
		"number":  `{"return": {}, "id": 18446744073709551615}`,
	} {
		for _, early := range []bool{true, false} {
			c := NewClient()
			conn, server := pair(t)
			background(t, func() {
				if early {
					server.send(stale, greeting)
				} else {
					server.send(greeting)
				}
				id := server.expectHandshake()
				if !early {
					server.send(stale)
				}
				server.send(`{"return": {}, "id": ` + id + `}`)
				server.serve(func(request string) string { return `{"return": ` + request[:len(request)-1] + `}` })
			})
			require.NoError(t, c.Connect(within(t, 10*time.Second), conn), name)
			for _, command := range []string{"a", "b"} {
				out, err := c.Execute(t.Context(), command, nil)
				require.NoError(t, err, name)
				require.JSONEq(t, `{"execute":"`+command+`"}`, string(out), name)
			}
			require.NoError(t, c.Close())
		}
	}
}

func TestCloseInterruptsTheHandshake(t *testing.T) {
	c := NewClient()
	conn, server := pair(t)
	failed := make(chan error, 1)
	go func() { failed <- c.Connect(context.Background(), conn) }()
	server.send(greeting)
	server.expectHandshake()
	require.NoError(t, c.Close())
	require.ErrorIs(t, soon(t, failed), net.ErrClosed)
}

func TestDial(t *testing.T) {
	path := socketPath(t, "qmp")
	l, err := net.Listen("unix", path)
	require.NoError(t, err)
	defer l.Close()
	background(t, func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		_, _ = io.WriteString(conn, greeting+"\r\n")
		_, _ = io.ReadFull(conn, make([]byte, 10))
		_, _ = io.WriteString(conn, `{"return": {}}`+"\r\n")
		_, _ = io.Copy(io.Discard, conn)
		_ = conn.Close()
	})
	c, err := Dial(within(t, 10*time.Second), "unix", path)
	require.NoError(t, err)
	require.NoError(t, c.Close())

	_, err = Dial(t.Context(), "unix", filepath.Join(t.TempDir(), "nothing"))
	require.ErrorIs(t, err, errors.ErrQMPConnection)
	_, err = Dial(within(t, 50*time.Millisecond), "unix", path) // nobody accepts
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

func TestFrameReaderCutsWhateverTheReads(t *testing.T) {
	long := make([]byte, 3*readBuffer)
	for i := range long {
		long[i] = 'x'
	}
	text := "a\r\n\r\n  b \n" + string(long) + "\nc\n"
	for name, wrap := range map[string]func(io.Reader) io.Reader{
		"whole":    func(r io.Reader) io.Reader { return r },
		"bytes":    iotest.OneByteReader,
		"halves":   iotest.HalfReader,
		"data+EOF": iotest.DataErrReader,
	} {
		t.Run(name, func(t *testing.T) {
			f := newFrameReader(wrap(strings.NewReader(text)), len(long)+1)
			for _, want := range []string{"a", "b", string(long), "c"} {
				got, err := f.next()
				require.NoError(t, err)
				require.Equal(t, want, string(got))
			}
			_, err := f.next()
			require.Equal(t, io.EOF, err)
		})
	}
}
