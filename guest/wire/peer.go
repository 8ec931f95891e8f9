package wire

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"sync"
)

// peer is one side's half of a session: its open streams and the demultiplexer.
// The reader never waits for anything but the connection.
type peer struct {
	out     *writer
	done    chan struct{} // closed when the session has ended
	mu      sync.Mutex
	streams map[uint32]*stream
	err     error // why it ended; set before done is closed
}

func newPeer(out *writer) *peer {
	return &peer{out: out, done: make(chan struct{}), streams: map[uint32]*stream{}}
}

func (p *peer) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// fail ends the session for a reason and all its streams with it. The first
// reason stays.
func (p *peer) fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err != nil {
		return
	}
	p.err = err
	close(p.done)
	for _, st := range p.streams {
		st.cancel(err)
	}
	clear(p.streams)
}

func (p *peer) stream(id uint32) *stream {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.streams[id]
}

// add registers a stream unless the session has ended.
func (p *peer) add(st *stream) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err != nil {
		return p.err
	}
	p.streams[st.id] = st
	return nil
}

// remove forgets a stream; it returns false when it was not there any more.
func (p *peer) remove(id uint32) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, ok := p.streams[id]
	delete(p.streams, id)
	return ok
}

// send hands a control frame to the writer.
func (p *peer) send(ctx context.Context, f *frame) error {
	return p.enqueue(ctx, p.out.control, f)
}

// sendData hands over a frame that must keep its place in its stream.
func (p *peer) sendData(ctx context.Context, f *frame) error {
	return p.enqueue(ctx, p.out.data, f)
}

func (p *peer) enqueue(ctx context.Context, q chan<- item, f *frame) error {
	it := item{peer: p, frame: f}
	if p.out.direct {
		return p.out.writeNow(it)
	}
	select {
	case q <- it:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-p.done:
		return p.err
	case <-p.out.done:
		return fmt.Errorf("wire: write: %w", p.out.err)
	}
}

// readFrames takes frames off the connection until it or the protocol fails.
// Types that only one side receives go to special.
func (p *peer) readFrames(br *bufio.Reader, special func(h header, payload []byte) error) error {
	for {
		h, err := readHeader(br)
		if err != nil {
			return err
		}
		switch h.typ {
		case frameData:
			err = p.receive(br, h)
		case frameEOF:
			if err = discard(br, h.length); err == nil {
				if st := p.stream(h.stream); st != nil && st.in[h.pipe] != nil {
					st.in[h.pipe].ring.end()
				}
			}
		case frameCredit:
			err = p.credit(br, h)
		default:
			var payload []byte
			if payload, err = readPayload(br, h.length); err == nil {
				err = special(h, payload)
			}
		}
		if err != nil {
			return err
		}
	}
}

// receive reads a data frame straight into its pipe's ring. Data for a stream
// that has ended here was on its way when it did: it is dropped.
func (p *peer) receive(br *bufio.Reader, h header) error {
	st := p.stream(h.stream)
	if st == nil || st.in[h.pipe] == nil {
		return discard(br, h.length)
	}
	ring := st.in[h.pipe].ring
	a, b, ok := ring.reserve(h.length)
	if !ok {
		return fmt.Errorf("%w: stream %d exceeds its window", ErrProtocol, h.stream)
	}
	if _, err := io.ReadFull(br, a); err != nil {
		return err
	}
	if _, err := io.ReadFull(br, b); err != nil {
		return err
	}
	if err := readTrailer(br); err != nil {
		return err
	}
	ring.commit(h.length)
	return nil
}

func (p *peer) credit(br *bufio.Reader, h header) error {
	payload, err := readPayload(br, h.length)
	if err != nil {
		return err
	}
	if len(payload) != 4 {
		return fmt.Errorf("%w: credit of %d bytes", ErrProtocol, len(payload))
	}
	if st := p.stream(h.stream); st != nil && st.out[h.pipe] != nil {
		st.out[h.pipe].grant(int(binary.LittleEndian.Uint32(payload)))
	}
	return nil
}
