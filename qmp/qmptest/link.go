package qmptest

import (
	"context"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/maqet/maqet/errors"
)

// window is how many commands wait on a connection before it is read no further
// (QEMU, monitor/qmp.c, QMP_REQ_QUEUE_LEN_MAX).
const window = 8

// link is one connection. One goroutine reads, and executes out of band; another
// executes all else in order. Whoever has something to say writes.
type link struct {
	server *Server
	nc     net.Conn
	number int
	ctx    context.Context // ends with the connection
	cancel context.CancelFunc
	queue  chan exchange
	agreed atomic.Bool // capabilities are negotiated
	oob    atomic.Bool // exec-oob is understood

	in struct {
		sync.Mutex
		left int // bytes still to be read; negative: no limit
	}
	out struct {
		sync.Mutex
		left    int    // bytes still to be written; negative: no limit
		atLimit func() // called then, with the mutex held
		mute    bool   // nothing is written any more
	}
}

// exchange is a request, or what is wrong with it.
type exchange struct {
	Request
	bad error
}

func newLink(s *Server, nc net.Conn, number int) *link {
	l := &link{server: s, nc: nc, number: number, queue: make(chan exchange, window-1)}
	l.ctx, l.cancel = context.WithCancel(s.ctx)
	l.in.left, l.out.left = -1, -1
	return l
}

// serve runs the connection to its end.
func (l *link) serve() {
	var executor sync.WaitGroup
	executor.Go(l.execute)
	l.read()
	l.hangUp()
	executor.Wait()
	l.server.remove(l)
}

// hangUp ends the connection.
func (l *link) hangUp() {
	l.cancel()
	_ = l.nc.Close()
}

// reset ends it at once: on TCP, what was not sent yet is dropped and the client reads
// ECONNRESET.
func (l *link) reset() {
	if tcp, ok := l.nc.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	l.hangUp()
}

// read takes in requests until the connection ends.
func (l *link) read() {
	buf, rights := make([]byte, 64<<10), rightsBuffer()
	var cut cutter
	var files []*os.File // came with the request that is not complete yet
	for {
		n, came, err := l.receive(buf, rights)
		if err != nil {
			return
		}
		l.server.keep(came)
		values := cut.feed(buf[:n])
		for i, value := range values {
			var with []*os.File
			if i == 0 {
				with, files = files, nil
			}
			// Files come with the first byte of the last request in a read: the system
			// does not join them with what is sent later (unix(7)).
			if i == len(values)-1 && !cut.inside() {
				with, came = append(with, came...), nil
			}
			if !l.take(value, with) {
				return
			}
		}
		files = append(files, came...)
	}
}

// receive reads what is there, but no more than the limit.
func (l *link) receive(buf, rights []byte) (int, []*os.File, error) {
	for {
		l.in.Lock()
		left := l.in.left
		l.in.Unlock()
		if left == 0 {
			<-l.ctx.Done()
			return 0, nil, l.ctx.Err()
		}
		if left > 0 {
			buf = buf[:min(left, len(buf))]
		}
		n, files, err := readFiles(l.nc, buf, rights)
		if errors.Is(err, os.ErrDeadlineExceeded) { // the limit has changed
			_ = l.nc.SetReadDeadline(time.Time{})
			continue
		}
		l.in.Lock()
		if l.in.left > 0 {
			l.in.left = max(l.in.left-n, 0)
		}
		l.in.Unlock()
		return n, files, err
	}
}

// readAtMost makes the link read n more bytes and then none.
func (l *link) readAtMost(n int) {
	l.in.Lock()
	l.in.left = n
	l.in.Unlock()
	_ = l.nc.SetReadDeadline(time.Unix(1, 0)) // interrupts a read without that limit
}

// take handles one JSON value. It is false when the connection has ended.
func (l *link) take(value []byte, files []*os.File) bool {
	var x exchange
	x.Request, x.bad = parseRequest(value, l.oob.Load())
	x.Files, x.Conn, x.Time, x.ctx, x.then = files, l.number, time.Now(), l.ctx, new([]func())
	if x.bad == nil {
		l.server.record(x.Request)
	}
	if x.OOB {
		l.answer(x)
		return true
	}
	select {
	case l.queue <- x:
		return true
	case <-l.ctx.Done():
		return false
	}
}

// execute greets, then answers the commands one by one.
func (l *link) execute() {
	l.greet()
	for {
		select {
		case x := <-l.queue:
			l.answer(x)
		case <-l.ctx.Done():
			return
		}
	}
}

func (l *link) greet() {
	greeting := []byte{} // agents have none
	if l.server.opts.agent {
		l.agreed.Store(true)
	} else {
		greeting = l.server.greeting()
	}
	if fault := l.server.connectFault(); fault.do != nil {
		fault.do(l, Request{}, greeting)
		return
	}
	l.write(greeting)
}

// answer executes a command and replies, or does the fault that was asked for.
func (l *link) answer(x exchange) {
	result, err := l.run(x)
	if _, none := result.(noReply); !none || err != nil {
		frame := l.server.reply(x.Request, result, err)
		if fault := l.server.commandFault(x.Command); x.bad == nil && fault.do != nil {
			fault.do(l, x.Request, frame)
		} else {
			l.write(frame)
		}
	}
	for _, fn := range *x.then {
		fn()
	}
}

func (l *link) run(x exchange) (any, error) {
	switch {
	case x.bad != nil:
		return nil, x.bad
	case x.Command == "qmp_capabilities" && !l.server.opts.agent:
		return l.negotiate(x.Request)
	case !l.agreed.Load():
		return nil, Error("CommandNotFound", "Expecting capabilities negotiation with 'qmp_capabilities'")
	}
	return l.server.execute(x.Request)
}

// write sends a frame, or what the link's limit leaves of it.
func (l *link) write(frame []byte) {
	l.out.Lock()
	defer l.out.Unlock()
	l.put(frame)
}

// put is write for who holds the mutex. A write that fails ends the link by its read.
func (l *link) put(b []byte) {
	if l.out.mute {
		return
	}
	limited := l.out.left >= 0
	last := limited && len(b) >= l.out.left
	if last {
		b = b[:l.out.left]
	}
	if len(b) > 0 {
		_, _ = l.nc.Write(b)
	}
	if limited {
		l.out.left -= len(b)
	}
	if last {
		l.out.mute = true
		l.out.atLimit()
	}
}

// writeAtMost makes the link write n more bytes, and call fn after the last of them.
func (l *link) writeAtMost(n int, fn func()) {
	l.out.Lock()
	defer l.out.Unlock()
	l.out.left, l.out.atLimit = n, fn
	if n == 0 {
		l.put(nil)
	}
}
