package libvirt

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/digitalocean/go-libvirt"
	"github.com/digitalocean/go-libvirt/socket/dialers"
)

// link is one connection on which calls are made. When it is lost it is of no more use: a
// libvirt.Libvirt that connects again races with itself (go-libvirt's issue 167).
type link struct {
	l     *libvirt.Libvirt
	wire  *wire
	turns turn          // maxCalls
	more  turn          // moreCalls
	doubt chan struct{} // a call was not answered in time

	probes sync.WaitGroup
	asked  chan struct{} // closed when probe's question is answered; nil: there is none

	retired atomic.Bool // it gets no new calls
	lasting bool        // it stays open when it is retired and idle
}

// turn is where a call holds its place on a connection: one value in one of link's channels.
type turn chan struct{}

const (
	// maxCalls is how many calls run on a connection at once whatever they do. libvirtd reads
	// no further from a client that has five requests that are not answered yet
	// (max_client_requests in libvirtd.conf): what is beyond that waits on this side, where it
	// can be cancelled or get another connection, and one is left for asking whether libvirtd
	// lives.
	maxCalls = 4
	// moreCalls is how many more may be under way while libvirtd answers one after another, so
	// that it never waits for the next.
	moreCalls = 12
	// moving is how recent an answer must be for that.
	moving = 5 * time.Millisecond
)

// openLink makes a connection and opens the driver. When it returns an error nothing is left
// of it.
func openLink(ctx context.Context, dial func(context.Context) (net.Conn, error), uri string) (*link, error) {
	c, err := dial(ctx)
	if err != nil {
		return nil, err
	}
	w := newWire(c)
	stop := context.AfterFunc(ctx, func() { w.fail(context.Cause(ctx)) })
	defer stop()
	l := libvirt.NewWithDialer(dialers.NewAlreadyConnected(w))
	err = l.ConnectToURI(libvirt.ConnectURI(uri))
	close(w.opened)
	if err != nil {
		cause := w.cause()
		_ = w.Close() // never fails
		if cause != nil && !isAnswer(err) {
			err = cause
		}
		return nil, err
	}
	return &link{l: l, wire: w, turns: make(turn, maxCalls), more: make(turn, moreCalls), doubt: make(chan struct{}, 1)}, nil
}

// enter gets a turn, nil if the connection is full.
func (k *link) enter() turn {
	select {
	case k.turns <- struct{}{}:
		return k.entered(k.turns)
	default:
	}
	if time.Since(k.wire.lastHeard()) > moving {
		return nil
	}
	select {
	case k.more <- struct{}{}:
		return k.entered(k.more)
	default:
		return nil
	}
}

// entered gives the turn back when the connection takes no calls any more.
func (k *link) entered(t turn) turn {
	if k.retired.Load() {
		k.release(t)
		return nil
	}
	return t
}

// release ends a call. A retired connection ends with its last one.
func (k *link) release(t turn) {
	<-t
	k.closeIfDone()
}

// calls is how many run.
func (k *link) calls() int { return len(k.turns) + len(k.more) }

// retire gives the connection no more calls. Those that run go on.
func (k *link) retire() {
	k.retired.Store(true)
	k.closeIfDone()
}

func (k *link) closeIfDone() {
	if k.retired.Load() && !k.lasting && k.calls() == 0 {
		k.wire.fail(errRetired)
	}
}

// suspect has the connection's keeper ask whether libvirtd lives.
func (k *link) suspect() {
	select {
	case k.doubt <- struct{}{}:
	default: // it is going to
	}
}

// probe reports whether libvirtd sends anything within limit, and asks it to. What it is asked
// for is answered by the workers that libvirtd keeps for calls that can't block, and that it
// has no such call is an answer too. A question that was not answered before is not asked again.
// It is called by one goroutine.
func (k *link) probe(limit time.Duration) bool {
	before := k.wire.heard.Load()
	select {
	case <-k.asked: // late
		k.asked = nil
	default:
	}
	if k.asked == nil {
		answered := make(chan struct{})
		k.asked = answered
		k.probes.Go(func() {
			defer close(answered)
			_, _ = k.l.ConnectGetLibVersion()
		})
	}
	late := time.NewTimer(limit)
	defer late.Stop()
	select {
	case <-k.asked:
		k.asked = nil
		return k.wire.cause() == nil
	case <-k.wire.lost:
		return false
	case <-late.C:
		return k.wire.heard.Load() != before
	}
}

// hangUp tells libvirtd that the connection ends, for its log's sake, if it listens, and ends
// it.
func (k *link) hangUp(reason error) {
	said := make(chan struct{})
	go func() { // ends with the connection at the latest
		defer close(said)
		_ = k.l.ConnectClose() // it ends anyhow
	}()
	wait := func() {
		late := time.NewTimer(politeness)
		defer late.Stop()
		select {
		case <-said:
		case <-late.C:
		}
	}
	wait()
	k.wire.fail(reason)
	wait() // for the goroutine
}

// politeness is how long libvirtd may take to notice that a connection is closed.
const politeness = 200 * time.Millisecond
