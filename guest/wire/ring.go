package wire

import "sync"

// ring holds what arrived on a pipe and was not consumed yet: one producer,
// the session's reader, and one consumer. It grows as needed up to Window.
//
// The producer fills the space it reserved without the lock, straight from the
// connection. That is safe because consuming moves start and used together,
// which leaves the free region's beginning where it was.
type ring struct {
	mu    sync.Mutex
	buf   []byte
	start int
	used  int
	ended bool
	wake  chan struct{} // holds one token when something changed
}

const minRing = 4 << 10

func newRing() *ring { return &ring{wake: make(chan struct{}, 1)} }

// reserve returns n bytes of free space in at most two parts; it fails when
// the peer sent more than its window.
func (r *ring) reserve(n int) (a, b []byte, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.used+n > Window {
		return nil, nil, false
	}
	if r.used+n > len(r.buf) {
		r.grow(r.used + n)
	}
	from := (r.start + r.used) % max(len(r.buf), 1)
	if from+n <= len(r.buf) {
		return r.buf[from : from+n], nil, true
	}
	return r.buf[from:], r.buf[:from+n-len(r.buf)], true
}

// grow moves the content to a larger buffer. A consumer that holds a part of
// the old one can go on reading it.
func (r *ring) grow(n int) {
	size := max(len(r.buf), minRing)
	for size < n {
		size *= 2
	}
	buf := make([]byte, size)
	end := min(r.start+r.used, len(r.buf))
	k := copy(buf, r.buf[r.start:end])
	copy(buf[k:], r.buf[:r.used-k])
	r.buf, r.start = buf, 0
}

// commit makes n reserved bytes visible to the consumer.
func (r *ring) commit(n int) {
	r.mu.Lock()
	r.used += n
	r.mu.Unlock()
	r.signal()
}

// end says that nothing more will come.
func (r *ring) end() {
	r.mu.Lock()
	r.ended = true
	r.mu.Unlock()
	r.signal()
}

func (r *ring) signal() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// peek returns the first contiguous part of the content and whether the end
// was reached, without waiting.
func (r *ring) peek() (p []byte, ended bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.used == 0 {
		return nil, r.ended
	}
	return r.buf[r.start:min(r.start+r.used, len(r.buf))], false
}

// advance consumes n bytes.
func (r *ring) advance(n int) {
	r.mu.Lock()
	r.start = (r.start + n) % len(r.buf)
	r.used -= n
	r.mu.Unlock()
}
