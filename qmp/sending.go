package qmp

import "slices"

// window is how many in-band commands are in flight at most. QEMU stops reading, also for
// out-of-band commands, when it has eight to do (QMP specification, "Out-of-band
// execution"; QMP_REQ_QUEUE_LEN_MAX).
const window = 7

// call is a command from when it is asked for until it is answered. Its reply is kept
// even when nobody waits any more, so that the reader never blocks.
type call struct {
	request request
	files   *passedFiles // nil for none
	reply   chan reply   // capacity 1
	given   bool         // nobody waits for it any more; guarded by session.mu
}

// sender is what a session writes, guarded by the session's mu except where stated.
type sender struct {
	urgent  []*call // not yet written: out-of-band commands and the handshake
	waiting []*call // not yet written: all others, in order
	writing bool    // somebody writes, or the writer was told to; out and what follows are his

	out    []byte       // requests that are being written
	sent   int          // how much of out was
	loaded []*call      // whose requests are in out
	ends   []int        // where each of them ends
	files  *passedFiles // what goes with the first byte of out
}

// submit queues a command and, unless somebody writes already, writes what the socket
// takes at once. The caller, who has a context, never waits for a peer that does not
// read: that is the writer's part.
func (s *session) submit(c *call) error {
	s.mu.Lock()
	if err := s.err; err != nil {
		s.mu.Unlock()
		<-s.done // then the client knows it, too
		return err
	}
	if c.request.id != 0 {
		s.urgent = append(s.urgent, c)
	} else {
		s.waiting = append(s.waiting, c)
	}
	begin := !s.writing && s.writable()
	s.writing = s.writing || begin
	s.mu.Unlock()
	if !begin {
		return nil
	}
	if s.direct != nil {
		done, err := s.direct.run(false)
		if err != nil {
			s.fail(err) // the reader sees the closed connection at once
			return nil
		}
		if done && s.finish() {
			return nil
		}
	}
	s.wake <- struct{}{}
	return nil
}

// write is the writer: it writes what submit could not, until the connection ends.
func (s *session) write() {
	for {
		select {
		case <-s.wake:
			if err := s.flush(); err != nil {
				s.fail(err)
				return
			}
		case <-s.done:
			return
		}
	}
}

// flush writes, and waits for the socket, until nothing more may be written.
func (s *session) flush() error {
	blocking := func(data []byte, _ *passedFiles) (int, error) { return s.conn.Write(data) }
	for {
		done, err := false, error(nil)
		if s.direct != nil {
			done, err = s.direct.run(true)
		} else {
			done, _, err = s.step(blocking)
		}
		if err != nil || done && s.finish() {
			return err
		}
	}
}

// finish lets others write. It reports false when there is something to write again.
func (s *session) finish() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writing = s.writable()
	return !s.writing
}

// step writes once. done means that nothing more may be written; full that the socket
// takes no more for now. Then commands of which nothing was written are put back, so that
// they can still be withdrawn. Only who has set s.writing may call it.
func (s *session) step(try tryWrite) (done, full bool, err error) {
	if s.sent == len(s.out) && !s.load() {
		return true, false, nil
	}
	first := s.sent == 0
	switch {
	case first && s.direct == nil: // the write waits until all is written
		s.begun()
		first = false
	case first && s.taps.any():
		defer s.taps.sending()()
	}
	n, err := try(s.out[s.sent:], s.sender.files)
	if err != nil {
		s.sender.files.close()
		s.sender.files = nil
		return false, false, err
	}
	s.sent += n
	if s.sent < len(s.out) {
		full = true
		s.unload()
	}
	if n > 0 && first {
		s.begun()
	}
	return false, full, nil
}

// begun is called when the first bytes of out are with the peer, or on their way.
func (s *session) begun() {
	s.sender.files.close()
	s.sender.files = nil
	begin := 0
	for _, end := range s.ends {
		s.taps.show(Frame{Sent: true, Data: s.out[begin:end]})
		begin = end
	}
}

// writable reports whether load would find anything. The caller holds mu.
func (s *session) writable() bool {
	return s.err == nil && (len(s.urgent) > 0 || len(s.waiting) > 0 && s.mayGo(s.waiting[0]))
}

// mayGo reports whether an in-band command may be written now. Commands with files go
// one at a time, because QEMU keeps only the files that came last.
func (s *session) mayGo(c *call) bool {
	return len(s.inBand) < window && (c.files == nil || !s.filesIn)
}

// load moves the commands that may be written into flight, and their requests to out. A
// command with files is alone there. It reports whether there were any.
func (s *session) load() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.out, s.sent = s.out[:0], 0
	s.loaded, s.ends = s.loaded[:0], s.ends[:0]
	if !s.writable() {
		return false
	}
	for _, c := range s.urgent {
		s.byID[c.request.id] = c
		s.encode(c)
	}
	s.urgent = s.urgent[:0]
	for len(s.waiting) > 0 && s.mayGo(s.waiting[0]) {
		c := s.waiting[0]
		if c.files != nil && len(s.out) > 0 {
			break
		}
		s.waiting = drop(s.waiting, 0)
		s.inBand = append(s.inBand, c)
		s.encode(c)
		if c.files != nil {
			s.filesIn, s.sender.files = true, c.files
			break
		}
	}
	return true
}

func (s *session) encode(c *call) {
	s.out = c.request.append(s.out)
	s.loaded, s.ends = append(s.loaded, c), append(s.ends, len(s.out))
}

// unload takes back what load did with the commands of which nothing was written.
func (s *session) unload() {
	s.mu.Lock()
	defer s.mu.Unlock()
	keep, end := 0, 0 // commands, bytes
	for end < s.sent {
		keep, end = keep+1, s.ends[keep]
	}
	var urgent, waiting []*call
	for _, c := range s.loaded[keep:] {
		if c.request.id != 0 {
			if s.byID[c.request.id] == c {
				delete(s.byID, c.request.id)
				urgent = append(urgent, c)
			}
			continue
		}
		if i := slices.Index(s.inBand, c); i >= 0 { // or the peer answered what it was not asked
			s.inBand = drop(s.inBand, i)
			waiting = append(waiting, c)
		}
	}
	if keep == 0 && s.sender.files != nil {
		s.filesIn, s.sender.files = false, nil
	}
	abandoned := func(c *call) bool {
		drop := c.given || s.err != nil // after the end nobody looks at what waits
		if drop {
			c.files.close()
		}
		return drop
	}
	s.urgent = append(slices.DeleteFunc(urgent, abandoned), s.urgent...)
	s.waiting = append(slices.DeleteFunc(waiting, abandoned), s.waiting...)
	s.out, s.loaded, s.ends = s.out[:end], s.loaded[:keep], s.ends[:keep]
}

// withdraw forgets a command that nobody waits for any more, if it was not written yet:
// then it has no effect. One in flight keeps its place until its reply has come.
func (s *session) withdraw(c *call) {
	s.mu.Lock()
	for _, queue := range []*[]*call{&s.urgent, &s.waiting} {
		if i := slices.Index(*queue, c); i >= 0 {
			*queue = drop(*queue, i)
			s.mu.Unlock()
			c.files.close()
			s.recycle(c)
			return
		}
	}
	c.given = true
	s.mu.Unlock()
}

// recycle keeps a call for the next command. Nobody else has it any more.
func (s *session) recycle(c *call) {
	c.request, c.files, c.given = request{}, nil, false
	s.calls.Put(c)
}

// drop takes out the i-th call, and keeps the memory.
func drop(calls []*call, i int) []*call {
	n := i + copy(calls[i:], calls[i+1:])
	calls[n] = nil
	return calls[:n]
}
