package libvirtrpc

import (
	"context"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/digitalocean/go-libvirt"
)

const (
	procOpenConsole = 201
	procOpenChannel = 296
)

const (
	// maxChunk is how much data libvirt takes in one message of a stream
	// (VIR_NET_MESSAGE_LEGACY_PAYLOAD_MAX).
	maxChunk = 262120
	// maxEarly bounds what of a stream is kept before it is known to be open.
	maxEarly = maxMessage
	// lingerTime is how long Close waits for libvirtd to say that it has all that was written.
	lingerTime = time.Second
)

// stream is a stream in both directions. Nobody reads ahead: what the other side sends while
// Read is not called stays in the socket, and libvirtd stops reading its own source.
type stream struct {
	conn net.Conn
	head header // of the messages that carry its data

	reading sync.Mutex
	r       *reader
	early   []byte // came before it was known to be open
	rest    int    // bytes of the current message that are not read yet
	readErr error  // why nothing more will come
	over    bool   // libvirtd has ended the stream

	writing sync.Mutex
	buf     []byte // a message that is being written
	unsent  []byte // what of buf a deadline has kept back

	closing sync.Mutex // guards closed and the deadlines
	closed  bool
	done    chan struct{} // closed when Close is through
}

// OpenConsole opens a domain's console as a stream: what is written is typed. conn must be a new
// connection to libvirtd, which belongs to the stream from now on, or is closed when there is an
// error; uri is the driver's, such as "qemu:///system". An empty device means the first console.
// What libvirtd refuses is a libvirt.Error: with code ErrOperationFailed if somebody else has the
// console open and flags lack DomainConsoleForce, which would throw them out.
//
// The stream's deadlines work, and data that a deadline has kept back is sent first by the next
// Write. It has no CloseWrite: libvirt's protocol ends both directions at once. When the domain is
// gone Read returns io.EOF, or a libvirt.Error with code ErrSystemError where QEMU's socket was
// reset because something sent was not read. Close waits up to a second for libvirtd to have all
// that was written.
func OpenConsole(ctx context.Context, conn net.Conn, uri string, dom libvirt.Domain, device string, flags libvirt.DomainConsoleFlags) (net.Conn, error) {
	return openStream(ctx, conn, uri, procOpenConsole, streamArgs(dom, device, uint32(flags)))
}

// OpenChannel opens a channel of a domain by its target name, such as "org.qemu.guest_agent.0";
// an empty one means the first channel. All else is as with [OpenConsole].
func OpenChannel(ctx context.Context, conn net.Conn, uri string, dom libvirt.Domain, name string, flags libvirt.DomainChannelFlags) (net.Conn, error) {
	return openStream(ctx, conn, uri, procOpenChannel, streamArgs(dom, name, uint32(flags)))
}

func streamArgs(dom libvirt.Domain, name string, flags uint32) []byte {
	var args encoder
	args.domain(dom)
	args.optional(name)
	args.uint32(flags)
	return args
}

// openStream does not tell libvirtd that we answer pings: who reads slowly answers slowly.
func openStream(ctx context.Context, conn net.Conn, uri string, procedure uint32, args []byte) (net.Conn, error) {
	s := &stream{conn: conn, done: make(chan struct{})}
	err := open(ctx, conn, uri, func(c *client) error {
		s.r = c.r
		s.head = header{programRemote, version, procedure, typeStream, c.serial + 1, statusContinue}
		c.other = s.keep
		_, err := c.call(programRemote, procedure, args)
		return err
	})
	if err != nil {
		return nil, err
	}
	return s, nil
}

// keep takes data that comes before the reply to the call that opens the stream: libvirtd sends
// them from different threads.
func (s *stream) keep(h header, payload []byte) error {
	switch {
	case s.readErr != nil || !s.ours(h):
		return unexpected(h, payload)
	case h.status != statusContinue || len(payload) == 0:
		s.end(h, payload)
		return nil
	case len(s.early)+len(payload) > maxEarly:
		return malformed("more than %d bytes of a stream that is not open", maxEarly)
	}
	s.early = append(s.early, payload...)
	return nil
}

// ours reports whether a message belongs to the stream. An error that is of writing comes as a
// second reply to the call that opened it.
func (s *stream) ours(h header) bool {
	return h.program == s.head.program && h.procedure == s.head.procedure && h.serial == s.head.serial &&
		(h.kind == typeStream && h.status <= statusContinue || h.kind == typeReply && h.status == statusError)
}

// end takes a message after which there are no data: an error, libvirtd's agreement to the end, or
// one to continue that is empty, by which it says that its source has ended.
func (s *stream) end(h header, payload []byte) {
	s.readErr = io.EOF
	if h.status == statusError {
		s.readErr = decodeError(payload)
	}
	s.over = h.status != statusContinue
}

// Read implements net.Conn.
func (s *stream) Read(p []byte) (int, error) {
	s.reading.Lock()
	defer s.reading.Unlock()
	if s.isClosed() {
		return 0, net.ErrClosed
	}
	if len(p) == 0 {
		return 0, nil
	}
	n, err := s.read(p)
	if n == 0 && err != nil && s.isClosed() {
		err = net.ErrClosed
	}
	return n, err
}

func (s *stream) read(p []byte) (int, error) {
	if len(s.early) > 0 {
		n := copy(p, s.early)
		if s.early = s.early[n:]; len(s.early) == 0 {
			s.early = nil
		}
		return n, nil
	}
	for s.rest == 0 {
		if s.readErr != nil {
			return 0, s.readErr
		}
		if err := s.nextMessage(); err != nil {
			return 0, s.failed(err)
		}
	}
	n, err := s.r.r.Read(p[:min(len(p), s.rest)])
	s.rest -= n
	if n > 0 || err == nil {
		return n, nil
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return 0, s.failed(err)
}

// nextMessage reads the next message up to its data, and sets rest or readErr.
func (s *stream) nextMessage() error {
	if s.r.body == nil {
		h, size, err := s.r.header()
		if err != nil {
			if err == io.EOF { // libvirtd ends streams before connections
				err = io.ErrUnexpectedEOF
			}
			return err
		}
		if s.ours(h) && h.status == statusContinue && size > 0 {
			s.rest = size
			return nil
		}
		s.r.begin(h, size)
	}
	h, payload, err := s.r.next()
	if err != nil {
		return err
	}
	if pong := answer(h); pong != nil {
		s.tryWrite(pong)
		return nil
	}
	if !s.ours(h) {
		return unexpected(h, payload)
	}
	s.end(h, payload)
	return nil
}

// failed keeps an error for good unless it is a deadline's.
func (s *stream) failed(err error) error {
	if !os.IsTimeout(err) {
		s.readErr = err
	}
	return err
}

// Write implements net.Conn. A chunk that has begun counts as written.
func (s *stream) Write(p []byte) (n int, err error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	for {
		if s.isClosed() {
			return n, net.ErrClosed
		}
		if err := s.flush(); err != nil {
			return n, err
		}
		if len(p) == 0 {
			return n, nil
		}
		chunk := p[:min(len(p), maxChunk)]
		s.prepare(s.head, chunk)
		p, n = p[len(chunk):], n+len(chunk)
	}
}

// prepare makes a message the next to be sent.
func (s *stream) prepare(h header, payload []byte) {
	s.buf = append(s.buf[:0], make([]byte, headerSize)...)
	h.put(s.buf, len(payload))
	s.buf = append(s.buf, payload...)
	s.unsent = s.buf
}

func (s *stream) flush() error {
	for len(s.unsent) > 0 {
		n, err := s.conn.Write(s.unsent)
		s.unsent = s.unsent[n:]
		if err != nil {
			if s.isClosed() {
				err = net.ErrClosed
			}
			return err
		}
	}
	return nil
}

// tryWrite sends a message unless one is being written: a reader must not wait for a writer, who
// may be waiting for what is read.
func (s *stream) tryWrite(message []byte) {
	if !s.writing.TryLock() {
		return
	}
	defer s.writing.Unlock()
	if len(s.unsent) == 0 {
		s.buf = append(s.buf[:0], message...)
		s.unsent = s.buf
		_ = s.flush() // the next Write tells
	}
}
