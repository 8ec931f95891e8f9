package libvirt

import (
	"encoding/binary"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// wire is the net.Conn below a go-libvirt connection. It makes up for three things: go-libvirt
// can't be told to give up (whoever has the net.Conn can), it says too late and not always that
// the connection was lost, and it believes any length that the other side sends.
type wire struct {
	net.Conn
	frames frames
	heard  atomic.Int64  // when something was last received, in nanoseconds since made
	made   time.Time     // also for the monotonic clock
	opened chan struct{} // closed when go-libvirt's ConnectToURI has returned

	once sync.Once
	lost chan struct{} // closed when nothing more can be sent or received
	err  error         // why; read it only after lost is closed
}

func newWire(c net.Conn) *wire {
	return &wire{Conn: c, made: time.Now(), opened: make(chan struct{}), lost: make(chan struct{})}
}

// handshakeHold is how long a loss is kept from go-libvirt while it connects.
const handshakeHold = 100 * time.Millisecond

// Read is called by one goroutine of go-libvirt's. It returns none but final errors of no known
// type: go-libvirt reads on for ever after a net.OpError that calls itself temporary, which
// ETIMEDOUT does.
func (w *wire) Read(p []byte) (int, error) {
	n, err := w.Conn.Read(p)
	if n > 0 {
		w.heard.Store(int64(time.Since(w.made)))
		if bad := w.frames.check(p[:n]); bad != nil {
			n, err = 0, bad
		}
	}
	if err == nil {
		return n, nil
	}
	w.fail(err)
	// go-libvirt sets a field when its ConnectToURI has got the last answer, and reads it in
	// another goroutine when the connection is lost (issue 167): let it get done first.
	hold := time.NewTimer(handshakeHold)
	defer hold.Stop()
	select {
	case <-w.opened:
	case <-hold.C:
	}
	return n, errLost
}

func (w *wire) Write(p []byte) (int, error) {
	n, err := w.Conn.Write(p)
	if err != nil {
		w.fail(err)
	}
	return n, err
}

// Close implements net.Conn. It always succeeds: go-libvirt would leave its work undone otherwise.
func (w *wire) Close() error {
	w.fail(net.ErrClosed)
	return nil
}

// fail ends the connection for the reason err, unless it has ended.
func (w *wire) fail(err error) {
	w.once.Do(func() {
		w.err = err
		_ = w.Conn.Close() // nothing can be done about it, and it is of no use any more
		close(w.lost)
	})
}

// cause returns why the connection ended, nil while it has not.
func (w *wire) cause() error {
	select {
	case <-w.lost:
		return w.err
	default:
		return nil
	}
}

// lastHeard is when libvirtd last sent something, or the connection was made.
func (w *wire) lastHeard() time.Time { return w.made.Add(time.Duration(w.heard.Load())) }

// frames follows the lengths of messages: each begins with its own, in four bytes (libvirt,
// "RPC protocol & APIs", section "Packets"). go-libvirt panics when one is shorter than a
// header and reserves any memory that is asked for.
type frames struct {
	head [4]byte
	have int    // bytes of head
	left uint32 // bytes of the message that are still to come
}

const (
	minFrame = 28         // a header
	maxFrame = 32<<20 + 4 // VIR_NET_MESSAGE_MAX and the length
)

func (f *frames) check(p []byte) error {
	for len(p) > 0 {
		if f.left > 0 {
			n := min(uint64(f.left), uint64(len(p)))
			f.left -= uint32(n)
			p = p[n:]
			continue
		}
		n := copy(f.head[f.have:], p)
		f.have += n
		p = p[n:]
		if f.have < len(f.head) {
			return nil
		}
		size := binary.BigEndian.Uint32(f.head[:])
		if size < minFrame || size > maxFrame {
			return errNotLibvirt
		}
		f.have, f.left = 0, size-uint32(len(f.head))
	}
	return nil
}
