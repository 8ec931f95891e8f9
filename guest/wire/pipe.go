package wire

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"sync"
)

// errStreamDone ends writes to a stream whose result has arrived.
var errStreamDone = errors.New("wire: the other side has finished the stream")

// stream is one operation under way.
type stream struct {
	id     uint32
	peer   *peer
	ctx    context.Context // ends with the caller's context, on cancel, with the session
	cancel context.CancelCauseFunc
	in     [2]*In  // what the other side sends; nil where there is no such pipe
	out    [2]*Out // what goes there

	slots  chan struct{} // host: where it has a token
	done   chan struct{} // host: closed when the result is here
	result []byte        // payload of the done frame; read after done
}

func newStream(ctx context.Context, p *peer, id uint32, ins, outs int) *stream {
	st := &stream{id: id, peer: p, done: make(chan struct{})}
	st.ctx, st.cancel = context.WithCancelCause(ctx)
	for i := range ins {
		st.in[i] = &In{stream: st, pipe: uint8(i), ring: newRing()}
	}
	for i := range outs {
		st.out[i] = &Out{stream: st, pipe: uint8(i), credit: Window, wake: make(chan struct{}, 1)}
	}
	return st
}

// finish records the result: what is in the pipes can still be read.
func (st *stream) finish(result []byte) {
	st.result = result
	close(st.done) // before the pipes: who sees an end can see the result
	for _, in := range st.in {
		if in != nil {
			in.ring.end()
		}
	}
}

// failure is the error that the guest ended the stream with, if it has.
func (st *stream) failure() error {
	select {
	case <-st.done:
		_, err := decodeResult(st.result)
		return err
	default:
		return nil
	}
}

// In is the receiving end of a pipe. Its methods return the cause when the
// stream is cancelled. It has one user at a time.
type In struct {
	stream  *stream
	pipe    uint8
	ring    *ring
	unacked int // consumed since the last credit
}

// wait returns the next bytes, without consuming them, or io.EOF.
func (in *In) wait() ([]byte, error) {
	for {
		p, ended := in.ring.peek()
		if len(p) > 0 {
			return p, nil
		}
		if ended {
			return nil, io.EOF
		}
		select {
		case <-in.ring.wake:
		case <-in.stream.ctx.Done():
			return nil, context.Cause(in.stream.ctx)
		}
	}
}

// consume drops n bytes and lets the other side send as many more.
func (in *In) consume(n int) error {
	in.ring.advance(n)
	in.unacked += n
	if in.unacked < Window/4 {
		return nil
	}
	var credit [4]byte
	binary.LittleEndian.PutUint32(credit[:], uint32(in.unacked))
	in.unacked = 0
	return in.stream.peer.send(in.stream.ctx, controlFrame(frameCredit, in.pipe, in.stream.id, credit[:]))
}

// Read implements io.Reader.
func (in *In) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	q, err := in.wait()
	if err != nil {
		return 0, err
	}
	n := copy(p, q)
	return n, in.consume(n)
}

// WriteTo implements io.WriterTo: it writes what arrives, as it arrives,
// without copying it.
func (in *In) WriteTo(w io.Writer) (int64, error) {
	n, err := in.copy(w, -1)
	if err == io.EOF {
		err = nil
	}
	return n, err
}

// CopyN writes exactly n bytes to w; it returns io.ErrUnexpectedEOF when fewer
// arrive.
func (in *In) CopyN(w io.Writer, n int64) error {
	_, err := in.copy(w, n)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// copy writes n bytes, or with n < 0 all that come until io.EOF.
func (in *In) copy(w io.Writer, n int64) (done int64, err error) {
	for done != n {
		p, err := in.wait()
		if err != nil {
			return done, err
		}
		if n >= 0 {
			p = p[:min(int64(len(p)), n-done)]
		}
		k, err := w.Write(p)
		done += int64(k)
		if err != nil {
			return done, err
		}
		if err := in.consume(k); err != nil {
			return done, err
		}
	}
	return done, nil
}

// Out is the sending end of a pipe. It collects bytes into frames; Flush sends
// what there is. It has one user at a time.
type Out struct {
	stream *stream
	pipe   uint8
	cur    *frame

	mu     sync.Mutex
	credit int
	wake   chan struct{}
}

// grant adds to what may be sent.
func (o *Out) grant(n int) {
	o.mu.Lock()
	o.credit = min(o.credit+n, Window)
	o.mu.Unlock()
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// take waits until n bytes may be sent.
func (o *Out) take(n int) error {
	for {
		o.mu.Lock()
		ok := o.credit >= n
		if ok {
			o.credit -= n
		}
		o.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-o.wake:
		case <-o.stream.done:
			return errStreamDone
		case <-o.stream.ctx.Done():
			return context.Cause(o.stream.ctx)
		}
	}
}

// Space returns room for the next bytes, at least one; Extend adds them.
func (o *Out) Space() ([]byte, error) {
	if o.cur != nil && len(o.cur.space()) == 0 {
		if err := o.Flush(); err != nil {
			return nil, err
		}
	}
	if o.cur == nil {
		o.cur = newFrame(MaxPayload)
	}
	return o.cur.space(), nil
}

// Extend adds the first n bytes of Space to what will be sent.
func (o *Out) Extend(n int) { o.cur.extend(n) }

// Flush sends what was collected; it waits while the reader's window is full.
// Without content it gives the frame's memory back.
func (o *Out) Flush() error {
	f := o.cur
	o.cur = nil
	if f == nil {
		return nil
	}
	n := len(f.payload())
	if n == 0 {
		f.release()
		return nil
	}
	if err := o.take(n); err != nil {
		f.release()
		return err
	}
	f.seal(frameData, o.pipe, o.stream.id)
	return o.stream.peer.sendData(o.stream.ctx, f)
}

// Write implements io.Writer; the bytes leave when a frame is full or with Flush.
func (o *Out) Write(p []byte) (int, error) {
	done := 0
	for done < len(p) {
		space, err := o.Space()
		if err != nil {
			return done, err
		}
		n := copy(space, p[done:])
		o.Extend(n)
		done += n
	}
	return done, nil
}

// CopyN sends exactly n bytes of r, reading into the frames themselves; it
// returns io.ErrUnexpectedEOF when there are fewer.
func (o *Out) CopyN(r io.Reader, n int64) error {
	for n > 0 {
		space, err := o.Space()
		if err != nil {
			return err
		}
		k, err := r.Read(space[:min(int64(len(space)), n)])
		o.Extend(k)
		n -= int64(k)
		if err == io.EOF && n > 0 {
			return io.ErrUnexpectedEOF
		}
		if err != nil && err != io.EOF {
			return err
		}
	}
	return nil
}

// ReadFrom implements io.ReaderFrom: it sends each read's bytes at once, so
// that output streams as it is produced.
func (o *Out) ReadFrom(r io.Reader) (total int64, err error) {
	for {
		space, err := o.Space()
		if err != nil {
			return total, err
		}
		n, readErr := r.Read(space)
		o.Extend(n)
		total += int64(n)
		if err := o.Flush(); err != nil {
			return total, err
		}
		if readErr == io.EOF {
			return total, nil
		}
		if readErr != nil {
			return total, readErr
		}
	}
}

// CloseWrite sends what is left and the end of the pipe.
func (o *Out) CloseWrite() error {
	if err := o.Flush(); err != nil {
		return err
	}
	return o.stream.peer.sendData(o.stream.ctx, controlFrame(frameEOF, o.pipe, o.stream.id, nil))
}
