package qmp

import (
	"bufio"
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/maqet/maqet/errors"
)

// sessionText is what went over a monitor of QEMU 7.2, started with -M none: ">" is the
// client's side, "<" QEMU's.
//
//go:embed testdata/session.txt
var sessionText string

// recording is sessionText: the greeting, then commands with what QEMU sent for each.
type recording struct {
	greeting string
	steps    []step
}

type step struct {
	request string
	frames  string  // events and the reply, with their line ends
	reply   message // the last frame
}

func recorded() (r recording) {
	for line := range strings.Lines(sessionText) {
		text := strings.TrimSuffix(line[2:], "\n")
		switch {
		case line[0] == '>':
			r.steps = append(r.steps, step{request: text})
		case len(r.steps) == 0:
			r.greeting = text + "\r\n"
		default:
			s := &r.steps[len(r.steps)-1]
			s.frames += text + "\r\n"
			if err := s.reply.parse([]byte(text)); err != nil {
				panic(err)
			}
		}
	}
	return r
}

// idSlack is how much longer an id can be than the recorded one.
const idSlack = 8

// sizes returns how many bytes QEMU and the client send at most; ids differ in length.
func (r recording) sizes() (qemu, client int) {
	qemu, client = len(r.greeting)+idSlack, idSlack
	for _, s := range r.steps {
		qemu += len(s.frames)
		client += len(s.request) + 1
	}
	return qemu, client
}

// player plays QEMU's side of a recording on conn, up to a number of bytes.
type player struct {
	recording
	conn   net.Conn
	writes int           // bytes still to be written; negative: all
	reads  int           // bytes still to be read; negative: all
	hangUp bool          // at the last byte, instead of falling silent
	cut    chan struct{} // closed at the last byte
	gone   chan struct{} // closed by the test when it is done
	fault  time.Time     // when it happened
}

func (p *player) play() {
	defer p.conn.Close()
	defer func() { <-p.gone }()
	in := bufio.NewReader(p)
	if !p.write(p.greeting) {
		return
	}
	for {
		line, err := in.ReadString('\n')
		if err != nil || !p.write(p.answer(strings.TrimSuffix(line, "\n"))) {
			return
		}
	}
}

var anyID = regexp.MustCompile(`"id":(\d+)}$`)

// answer returns what QEMU sent for a request; the handshake's id is a random one.
func (p *player) answer(request string) string {
	if id := anyID.FindStringSubmatch(request); id != nil {
		return strings.Replace(p.steps[0].frames, `"id": 1`, `"id": `+id[1], 1)
	}
	for _, s := range p.steps {
		if s.request == request {
			return s.frames
		}
	}
	return `{"error": {"class": "GenericError", "desc": "not recorded"}}` + "\r\n"
}

// write is false when the last byte is out and the connection shut.
func (p *player) write(text string) bool {
	last := p.writes >= 0 && len(text) >= p.writes
	if last {
		text = text[:p.writes]
	}
	if _, err := io.WriteString(p.conn, text); err != nil {
		return false
	}
	if p.writes >= 0 {
		p.writes -= len(text)
	}
	if !last {
		return true
	}
	p.end()
	if p.hangUp {
		_ = p.conn.Close()
	}
	return !p.hangUp
}

// Read implements io.Reader for play.
func (p *player) Read(buf []byte) (int, error) {
	if p.reads < 0 {
		return p.conn.Read(buf)
	}
	if p.reads == 0 {
		p.end()
		<-p.gone
		return 0, io.EOF
	}
	n, err := p.conn.Read(buf[:min(len(buf), p.reads)])
	p.reads -= n
	return n, err
}

func (p *player) end() {
	select {
	case <-p.cut:
	default:
		p.fault = time.Now()
		close(p.cut)
	}
}

// attempt has a client run the recording's commands, three at a time, against p. want is
// the kinds that errors may have, beside QEMU's own. It returns what is wrong, and how
// long it took after the fault until all had returned; with a patience, after the context
// that ended so long after the fault. It is negative when p came to no fault.
func (p *player) attempt(conn net.Conn, patience time.Duration, want ...error) (time.Duration, error) {
	p.cut, p.gone = make(chan struct{}), make(chan struct{})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	over := make(chan struct{})
	var work sync.WaitGroup
	work.Go(p.play)
	work.Go(func() {
		select {
		case <-p.cut:
			if patience > 0 {
				time.Sleep(patience)
				p.fault = time.Now()
				cancel()
			}
		case <-over:
		}
	})
	c := NewClient()
	err := p.drive(ctx, c, conn, want)
	ended := time.Now()
	close(over)
	err = errors.Join(err, c.Close())
	close(p.gone)
	work.Wait()
	if p.fault.IsZero() {
		return -1, err
	}
	return ended.Sub(p.fault), err
}

// drive connects c and executes the commands.
func (p *player) drive(ctx context.Context, c *Client, conn net.Conn, want []error) error {
	if err := c.Connect(ctx, conn); err != nil {
		return kindOf(err, errors.ErrQMPConnection)
	}
	const goroutines = 3
	problems := make([]error, goroutines)
	var callers sync.WaitGroup
	for g := range goroutines {
		callers.Go(func() {
			for i := 1 + g; i < len(p.steps); i += goroutines {
				problems[g] = errors.Join(problems[g], p.steps[i].execute(ctx, c, want))
			}
		})
	}
	callers.Wait()
	return errors.Join(problems...)
}

// execute says what is wrong with the answer to a step's command.
func (s step) execute(ctx context.Context, c *Client, want []error) error {
	var in struct {
		Execute   string
		Arguments json.RawMessage
	}
	if err := json.Unmarshal([]byte(s.request), &in); err != nil {
		return err
	}
	var args any
	if in.Arguments != nil {
		args = in.Arguments
	}
	out, err := c.Execute(ctx, in.Execute, args)
	var refused *errors.QMPError
	switch {
	case err == nil && s.reply.Error == nil && string(out) == string(s.reply.Return):
		return nil
	case err == nil:
		return fmt.Errorf("%s got another's reply %s", in.Execute, out)
	case !errors.As(err, &refused):
		return kindOf(err, want...)
	case s.reply.Error == nil || *s.reply.Error != errorBody{refused.Class, refused.Desc}:
		return fmt.Errorf("%s got another's error: %w", in.Execute, err)
	}
	return nil
}

// kindOf returns err unless it is of one of those kinds.
func kindOf(err error, kinds ...error) error {
	for _, kind := range kinds {
		if errors.Is(err, kind) {
			return nil
		}
	}
	return fmt.Errorf("of the wrong kind: %w", err)
}

// everyByte tries 0 to n, eight at a time. try says what is wrong and how long it took.
// A machine that is busy may be late now and then, but not three times at the same byte.
func everyByte(t *testing.T, n int, limit time.Duration, try func(n int) (time.Duration, error)) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	var worst time.Duration
	var unharmed int // the fault would have come after the end
	var mu sync.Mutex
	var workers sync.WaitGroup
	next := make(chan int)
	for range 8 {
		workers.Go(func() {
			for at := range next {
				took, err := try(at)
				for range 2 {
					if err == nil && took > limit {
						took, err = try(at)
					}
				}
				if err != nil || took > limit {
					t.Errorf("at byte %d: %v after the fault: %v", at, took, err)
				}
				mu.Lock()
				worst = max(worst, took)
				if took < 0 {
					unharmed++
				}
				mu.Unlock()
			}
		})
	}
	for at := range n + 1 {
		next <- at
	}
	close(next)
	workers.Wait()
	require.LessOrEqual(t, unharmed, idSlack+1)
	t.Logf("%d bytes, at most %v until all commands had returned", n, worst)
}

func TestRecordedSessionCutAtEveryByte(t *testing.T) {
	r := recorded()
	total, _ := r.sizes()
	everyByte(t, total, time.Second, func(n int) (time.Duration, error) {
		conn, server := pair(t)
		p := player{recording: r, conn: server.conn, writes: n, reads: -1, hangUp: true}
		return p.attempt(conn, 0, errors.ErrQMPConnection)
	})
}

func TestRecordedSessionStalledAtEveryByte(t *testing.T) {
	r := recorded()
	total, _ := r.sizes()
	everyByte(t, total, time.Second, func(n int) (time.Duration, error) {
		conn, server := pair(t)
		p := player{recording: r, conn: server.conn, writes: n, reads: -1}
		return p.attempt(conn, time.Millisecond, errors.ErrQMPTimeout)
	})
}

// The peer reads so many bytes of the requests and no more. The pipe has no buffer, so
// that the client is stuck in the middle of a request. That one and those that wait end
// with the context; half a request ends the connection, and with it those in flight.
func TestRecordedSessionUnreadAtEveryByte(t *testing.T) {
	r := recorded()
	_, total := r.sizes()
	everyByte(t, total, time.Second, func(n int) (time.Duration, error) {
		conn, server := net.Pipe()
		p := player{recording: r, conn: server, writes: -1, reads: n}
		return p.attempt(conn, time.Millisecond, errors.ErrQMPTimeout, errors.ErrQMPConnection)
	})
}
