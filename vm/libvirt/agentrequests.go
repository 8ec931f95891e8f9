package libvirt

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"sync"

	"github.com/maqet/maqet/errors"
)

// agentMark, sent by a client, makes the agent forget half a request, and starts the reply
// to guest-sync-delimited (QEMU Guest Agent Protocol Reference).
const agentMark = 0xFF

// maxAgentRequest is what fits into a string of libvirt's protocol, in bytes
// (VIR_NET_MESSAGE_STRING_MAX).
const maxAgentRequest = 4 << 20

// agentRequests are the lines that a client has written and that wait for their turn.
type agentRequests struct {
	more chan struct{} // has room for one: there are lines

	mu    sync.Mutex
	lines [][]byte
}

func newAgentRequests() *agentRequests { return &agentRequests{more: make(chan struct{}, 1)} }

// read queues what comes from r, and never waits but for that: a client that has given
// up on an answer must be able to write a sync. It returns r's error.
func (q *agentRequests) read(r io.Reader) error {
	in := bufio.NewReader(r)
	var line []byte
	for {
		part, err := in.ReadSlice('\n')
		if i := bytes.LastIndexByte(part, agentMark); i >= 0 {
			line, part = line[:0], part[i+1:]
			q.forget()
		}
		line = append(line, part...)
		switch {
		case len(line) > maxAgentRequest:
			return &errors.Error{Kind: errors.ErrAgentUnavailable, Msg: "a command longer than 4 MiB, which libvirt does not carry"}
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case err != nil:
			return err
		}
		if text := bytes.TrimSpace(line); len(text) > 0 {
			q.add(bytes.Clone(text))
		}
		line = line[:0]
	}
}

func (q *agentRequests) add(line []byte) {
	q.mu.Lock()
	q.lines = append(q.lines, line)
	q.mu.Unlock()
	q.signal()
}

func (q *agentRequests) forget() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.lines = nil
}

func (q *agentRequests) waiting() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.lines) > 0
}

func (q *agentRequests) signal() {
	select {
	case q.more <- struct{}{}:
	default:
	}
}

// next returns the oldest line, and waits for one until ctx ends.
func (q *agentRequests) next(ctx context.Context) ([]byte, error) {
	for {
		q.mu.Lock()
		if len(q.lines) > 0 {
			line := q.lines[0]
			q.lines = q.lines[1:]
			q.mu.Unlock()
			return line, nil
		}
		q.mu.Unlock()
		select {
		case <-q.more:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}
