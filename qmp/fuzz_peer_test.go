package qmp

import (
	"bufio"
	"bytes"
	"encoding/json"
	"net"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
)

// fuzzGuard is when a fuzzed script counts as hanging. Nothing else in it looks at a
// clock: it goes on when something has happened.
const fuzzGuard = 20 * time.Second

// fuzzScript is a fuzz input, from which steps and their arguments are read.
type fuzzScript []byte

// next returns the next byte, 0 when there is none.
func (s *fuzzScript) next() byte {
	if len(*s) == 0 {
		return 0
	}
	b := (*s)[0]
	*s = (*s)[1:]
	return b
}

// take returns the next n bytes, or as many as there are.
func (s *fuzzScript) take(n int) []byte {
	n = min(n, len(*s))
	out := (*s)[:n]
	*s = (*s)[n:]
	return out
}

// fuzzRequest is a command that the peer has read.
type fuzzRequest struct {
	name string
	sync json.RawMessage // the id of a guest-sync-delimited
	id   string          // the member "id" as text, "" for none
}

// fuzzPeer is the other end of a connection. It reads requests all the time and writes
// what the script says.
type fuzzPeer struct {
	conn    net.Conn
	arrived chan fuzzRequest
	ended   chan struct{} // nothing arrives any more
	quit    chan struct{}
	reader  sync.WaitGroup

	mu   sync.Mutex
	left int // bytes still to be read; negative: no limit
}

func newFuzzPeer(conn net.Conn) *fuzzPeer {
	p := &fuzzPeer{
		conn: conn, left: -1, ended: make(chan struct{}), quit: make(chan struct{}),
		arrived: make(chan fuzzRequest, 2*fuzzCalls+2), // never full
	}
	p.reader.Go(p.read)
	return p
}

func (p *fuzzPeer) close() {
	close(p.quit)
	_ = p.conn.Close()
	p.reader.Wait()
}

func (p *fuzzPeer) read() {
	defer close(p.ended)
	for in := bufio.NewReader(p); ; {
		line, err := in.ReadBytes('\n')
		if err != nil {
			return
		}
		var r struct {
			Execute   string
			OOB       string `json:"exec-oob"`
			Arguments struct{ ID json.RawMessage }
			ID        json.RawMessage
		}
		line = line[bytes.LastIndexByte(line, agentMark)+1:] // and what was cut before the mark
		if err := json.Unmarshal(line, &r); err != nil {
			panic("the client sent " + string(line))
		}
		p.arrived <- fuzzRequest{name: r.Execute + r.OOB, sync: r.Arguments.ID, id: string(r.ID)}
	}
}

// Read implements io.Reader: what the limit allows.
func (p *fuzzPeer) Read(buf []byte) (int, error) {
	for {
		p.mu.Lock()
		left := p.left
		p.mu.Unlock()
		if left == 0 {
			<-p.quit
			return 0, net.ErrClosed
		}
		if left > 0 {
			buf = buf[:min(left, len(buf))]
		}
		n, err := p.conn.Read(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			_ = p.conn.SetReadDeadline(time.Time{})
			continue
		}
		p.mu.Lock()
		if p.left > 0 {
			p.left = max(p.left-n, 0)
		}
		p.mu.Unlock()
		return n, err
	}
}

// stopAfter makes the peer read n more bytes and then none.
func (p *fuzzPeer) stopAfter(n int) {
	p.mu.Lock()
	p.left = n
	p.mu.Unlock()
	_ = p.conn.SetReadDeadline(aLongTimeAgo)
}

// write writes text. The client may have closed the connection.
func (p *fuzzPeer) write(t *testing.T, text string) {
	_ = p.conn.SetWriteDeadline(time.Now().Add(fuzzGuard))
	if _, err := p.conn.Write([]byte(text)); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("the client does not read\n%s", stacks())
	}
}

// requireGoroutines waits until there are no more goroutines than before.
func requireGoroutines(t *testing.T, before int) {
	deadline := time.Now().Add(fuzzGuard)
	for runtime.NumGoroutine() > before {
		require.True(t, time.Now().Before(deadline), "goroutines left\n%s", stacks())
		runtime.Gosched()
	}
}

func stacks() []byte {
	buf := make([]byte, 1<<20)
	return buf[:runtime.Stack(buf, true)]
}
