package libvirtrpc

import (
	"io"
	"net"
	"time"
)

// Close implements net.Conn. It ends the stream in order, so that libvirtd has all that was
// written, and whoever opens it next finds it free; but it waits only so long for that.
func (s *stream) Close() error {
	s.closing.Lock()
	if s.closed {
		s.closing.Unlock()
		<-s.done
		return nil
	}
	s.closed = true
	// Those who are in Read and Write leave.
	_ = s.conn.SetDeadline(time.Unix(1, 0))
	s.closing.Unlock()
	defer close(s.done)

	s.reading.Lock()
	defer s.reading.Unlock()
	s.writing.Lock()
	defer s.writing.Unlock()
	if s.conn.SetDeadline(time.Now().Add(lingerTime)) == nil {
		s.finish()
	}
	return s.conn.Close()
}

// finish tells libvirtd that the stream ends, and waits until it says so as well.
func (s *stream) finish() {
	if s.readErr != nil && s.readErr != io.EOF || s.over || s.flush() != nil {
		return
	}
	h := s.head
	h.status = statusOK
	if s.prepare(h, nil); s.flush() != nil {
		return
	}
	for !s.over {
		n, err := s.r.r.Discard(s.rest)
		s.rest -= n
		if err == nil {
			err = s.nextMessage()
		}
		if err != nil {
			return
		}
	}
}

func (s *stream) isClosed() bool {
	s.closing.Lock()
	defer s.closing.Unlock()
	return s.closed
}

// SetDeadline implements net.Conn.
func (s *stream) SetDeadline(t time.Time) error { return s.deadline(s.conn.SetDeadline, t) }

// SetReadDeadline implements net.Conn.
func (s *stream) SetReadDeadline(t time.Time) error { return s.deadline(s.conn.SetReadDeadline, t) }

// SetWriteDeadline implements net.Conn.
func (s *stream) SetWriteDeadline(t time.Time) error { return s.deadline(s.conn.SetWriteDeadline, t) }

func (s *stream) deadline(set func(time.Time) error, t time.Time) error {
	s.closing.Lock()
	defer s.closing.Unlock()
	if s.closed {
		return net.ErrClosed
	}
	return set(t)
}

// LocalAddr implements net.Conn.
func (s *stream) LocalAddr() net.Addr { return s.conn.LocalAddr() }

// RemoteAddr implements net.Conn.
func (s *stream) RemoteAddr() net.Addr { return s.conn.RemoteAddr() }
