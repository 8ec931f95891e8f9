package wire

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// cutConn breaks after so many bytes in one direction.
type cutConn struct {
	net.Conn
	reads, writes int // bytes left; negative: no limit
}

var errCut = errors.New("cut")

func (c *cutConn) Read(p []byte) (int, error) {
	if c.reads == 0 {
		return 0, errCut
	}
	if c.reads > 0 {
		p = p[:min(len(p), c.reads)]
	}
	n, err := c.Conn.Read(p)
	if c.reads > 0 {
		c.reads -= n
	}
	return n, err
}

func (c *cutConn) Write(p []byte) (int, error) {
	if c.writes < 0 {
		return c.Conn.Write(p)
	}
	n, err := c.Conn.Write(p[:min(len(p), c.writes)])
	c.writes -= n
	if err == nil && n < len(p) {
		c.Conn.Close()
		err = errCut
	}
	return n, err
}

// TestDisconnectAtEveryByte cuts a small conversation at each of its bytes, in
// both directions: both sides end, and what failed says so.
func TestDisconnectAtEveryByte(t *testing.T) {
	talk := func(cut *cutConn, guest net.Conn) error {
		serve(t, guest, &fakeOps{exec: cat})
		ctx := within(t, 5*time.Second)
		s, err := Connect(ctx, cut)
		if err != nil {
			return err
		}
		defer s.Close()
		var out bytes.Buffer
		_, err = s.Exec(ctx, ExecRequest{Args: []string{"cat"}, Stdin: bytes.NewReader([]byte("hello")), Stdout: &out})
		if err == nil {
			require.Equal(t, "hello", out.String())
		}
		return err
	}
	for _, write := range []bool{false, true} {
		complete := false
		// Every byte but those of the padding, which are all alike.
		for n := 0; !complete; n++ {
			if write && n == 10 {
				n = frameSize - 10
			}
			host, guest := socketPair(t)
			cut := &cutConn{Conn: host, reads: n, writes: -1}
			if write {
				cut.reads, cut.writes = -1, n
			}
			err := talk(cut, guest)
			complete = err == nil
			require.NotErrorIs(t, err, context.DeadlineExceeded, "hung at byte %d", n)
			require.Less(t, n, frameSize+1000)
		}
	}
}

func TestGuestSaysWhyItEndsASession(t *testing.T) {
	for name, bad := range map[string][]byte{
		"huge frame":    {marker, byte(frameData), 0, 0, 1, 0, 0, 0, 0xff, 0xff, 0xff, 0x7f},
		"unknown type":  {marker, 99, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0},
		"unknown pipe":  {marker, byte(frameData), 2, 0, 1, 0, 0, 0, 0, 0, 0, 0},
		"no marker":     []byte("GET / HTTP/1.1\r\n"),
		"wrong sender":  controlFrame(frameDone, 0, 1, nil).buf,
		"empty request": controlFrame(frameOpen, 0, 1, nil).buf,
		"bad credit":    controlFrame(frameCredit, 0, 1, []byte{1}).buf,
	} {
		t.Run(name, func(t *testing.T) {
			s := session(t, &fakeOps{})
			s.peer.out.data <- item{peer: s.peer, raw: bad}
			<-s.Done()
			require.ErrorIs(t, s.Err(), ErrProtocol)
			require.ErrorContains(t, s.Err(), "the guest ended the session")
		})
	}
}

func TestWindowIsEnforced(t *testing.T) {
	running := make(chan struct{})
	s := session(t, &fakeOps{exec: func(ctx context.Context, c Command, in *In, out, errs *Out) (ExecResult, error) {
		close(running)
		return hang(ctx, c, in, out, errs)
	}})
	go s.Exec(context.Background(), ExecRequest{Args: []string{"x"}, Stdin: eternal{s}})
	<-running
	for range Window/MaxPayload + 2 {
		f := newFrame(MaxPayload)
		f.extend(MaxPayload)
		f.seal(frameData, 0, 1)
		s.peer.sendData(context.Background(), f)
	}
	<-s.Done()
	require.ErrorContains(t, s.Err(), "window")
}

// eternal is an input that yields nothing while its session lives.
type eternal struct{ s *Session }

func (e eternal) Read([]byte) (int, error) {
	<-e.s.Done()
	return 0, io.EOF
}

// gonePort is a port whose host is reported gone once, in the middle of a frame.
type gonePort struct {
	net.Conn
	gone chan struct{}
}

func (p *gonePort) Read(b []byte) (int, error) {
	select {
	case <-p.gone:
		p.gone = nil
		return 0, ErrPeerGone
	default:
		return p.Conn.Read(b)
	}
}

func TestServeGoesOnWhenTheHostIsGone(t *testing.T) {
	host, guest := socketPair(t)
	gone := make(chan struct{}, 1)
	serve(t, &gonePort{Conn: guest, gone: gone}, &fakeOps{})
	first, near := net.Pipe()
	relay := newRelay(host, near)
	s1, err := Connect(within(t, 5*time.Second), first)
	require.NoError(t, err)
	s1.Close()
	<-relay
	gone <- struct{}{}
	s2, err := Connect(within(t, 5*time.Second), host)
	require.NoError(t, err)
	require.NoError(t, s2.Ping(within(t, 5*time.Second)))
	s2.Close()
}

func FuzzFrames(f *testing.F) {
	f.Add(controlFrame(frameOpen, 0, 1, []byte{byte(opPing)}).buf)
	f.Add(controlFrame(frameData, 1, 1, []byte("text")).buf)
	f.Add(append(controlFrame(frameEOF, 0, 1, nil).buf, controlFrame(frameCredit, 0, 1, []byte{1, 2, 3, 4}).buf...))
	f.Fuzz(func(t *testing.T, data []byte) {
		p := newPeer(nil)
		st := newStream(context.Background(), p, 1, 2, 2)
		defer st.cancel(nil)
		require.NoError(t, p.add(st))
		err := p.readFrames(bufio.NewReaderSize(bytes.NewReader(data), readBuffer), func(h header, payload []byte) error {
			d := &decoder{b: payload}
			decodeCommand(d)
			decodeResult(payload)
			decodeFileInfo(payload)
			return nil
		})
		require.Error(t, err) // the input ends
		for _, in := range st.in {
			require.LessOrEqual(t, len(in.ring.buf), Window)
		}
		for _, out := range st.out {
			require.LessOrEqual(t, out.credit, Window)
		}
	})
}

func FuzzGreetings(f *testing.F) {
	msg, nonce := newSync(time.Unix(1, 2))
	f.Add(msg[frameSize-3:], nonce)
	f.Add(newHello(Hello{Version: 1, MaxStreams: 2, Features: []string{"a"}}, nonce), nonce)
	f.Fuzz(func(t *testing.T, data, nonce []byte) {
		readSync(bufio.NewReader(bytes.NewReader(data)))
		readHello(bufio.NewReader(bytes.NewReader(data)), nonce)
	})
}
