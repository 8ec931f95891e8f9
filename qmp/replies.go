package qmp

import (
	"fmt"
	"time"

	"github.com/maqet/maqet/errors"
)

// read hands out what arrives until the connection ends.
func (s *session) read() {
	var m message
	for {
		frame, err := s.frames.next()
		if err == nil {
			if err = m.parse(frame); err == nil {
				err = s.dispatch(&m, frame)
			} else {
				s.taps.received(frame, "")
			}
		}
		if err != nil {
			s.end(err)
			return
		}
	}
}

func (s *session) dispatch(m *message, frame []byte) error {
	switch {
	case m.Event != "":
		s.taps.received(frame, "")
		s.hub.publish(m.event())
		return nil
	case m.QMP != nil:
		s.taps.received(frame, "")
		if s.greeted {
			return errors.New("a second greeting")
		}
		s.greeted = true
		m.QMP.received = time.Now()
		s.greeting <- m.QMP
		return nil
	}
	c, err := s.claim(m)
	if c == nil {
		s.taps.received(frame, "")
		return err
	}
	s.taps.received(frame, c.request.command)
	c.reply <- reply{result: m.Return, err: m.Error} // c is not ours any more
	return nil
}

// claim returns the command that a reply belongs to: by its id, or the oldest one in
// flight. It is nil for a reply to drop.
func (s *session) claim(m *message) (*call, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	id := m.id()
	if c, ok := s.byID[id]; ok {
		delete(s.byID, id)
		s.agreed = s.agreed || id == s.hello
		return c, nil
	}
	if !s.agreed {
		return s.claimEarly(m), nil
	}
	if m.ID != nil {
		if id == s.hello && m.Error == nil {
			return nil, nil
		}
		return nil, fmt.Errorf("a reply with the unknown id %s", excerpt(m.ID))
	}
	if len(s.inBand) == 0 {
		return nil, errors.New("a reply to no command")
	}
	c := s.inBand[0]
	s.inBand = drop(s.inBand, 0)
	if c.files != nil {
		s.filesIn = false
	}
	if !s.writing && s.writable() { // there is room now
		s.writing = true
		s.wake <- struct{}{}
	}
	return c, nil
}

// claimEarly looks at a reply that comes before the handshake's. QEMU sends the reply to
// a command that an earlier client of the monitor left behind to the present client
// (7.2: nearly always, when a command is being executed while clients change), so such
// replies are dropped. One without an id that could be the handshake's is taken for it,
// for peers that do not return ids; should the real one still follow, claim drops it.
// Either way the replies after it are counted right.
func (s *session) claimEarly(m *message) *call {
	if m.ID != nil || string(m.Return) != "{}" {
		return nil
	}
	c := s.byID[s.hello]
	if c != nil {
		delete(s.byID, s.hello)
		s.agreed = true
	}
	return c
}
