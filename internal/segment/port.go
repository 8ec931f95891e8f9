//go:build linux

package segment

import (
	"bytes"
	"errors"
	"os"
	"slices"
	"sync"

	"golang.org/x/sys/unix"
)

// queueLength is how many frames wait for a card that does not take them. The kernel holds
// a few more (sysctl net.unix.max_dgram_qlen).
const queueLength = 256

// port is the way to one card. Frames go straight to the card's socket; when that is full
// they wait in a queue, and when the queue is full they are dropped.
type port struct {
	file    *os.File    // connected to the card's socket
	learnt  []address   // those that point here, oldest first; the switch's mutex guards it
	queue   chan []byte // frames that wait; nobody changes them
	pending sync.WaitGroup
	closing chan struct{}
	once    sync.Once

	mu      sync.Mutex
	waiting int                   // frames in the queue and at the writer
	frame   []byte                // what write writes
	write   func(fd uintptr) bool // made once: each frame needs it
	result  error                 // of write
}

// dial connects to a card's socket. It fails when nobody has that open.
func dial(path string) (*port, error) {
	fd, err := datagramSocket()
	if err != nil {
		return nil, err
	}
	file := os.NewFile(uintptr(fd), path)
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		return nil, errors.Join(&os.PathError{Op: "connect", Path: path, Err: err}, file.Close())
	}
	p := &port{file: file, queue: make(chan []byte, queueLength), closing: make(chan struct{})}
	p.write = func(fd uintptr) bool {
		_, p.result = unix.Write(int(fd), p.frame)
		return true
	}
	p.pending.Go(p.drain)
	return p, nil
}

// send sends a frame, or queues a copy, or drops it. It has one caller at a time, and never
// waits. kept is a copy of data that was made before, nil if there is none; send returns
// it, or the one that it has made.
func (p *port) send(data, kept []byte) []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.waiting == 0 {
		if conn, err := p.file.SyscallConn(); err == nil {
			p.frame = data
			err = conn.Write(p.write)
			p.frame = nil
			if err != nil || !errors.Is(p.result, unix.EAGAIN) {
				return kept // sent, or its machine is gone
			}
		}
	}
	if len(p.queue) == cap(p.queue) {
		return kept // dropped
	}
	if kept == nil {
		kept = bytes.Clone(data)
	}
	p.queue <- kept // there is room: nobody else sends
	p.waiting++
	return kept
}

// drain sends what waits, in order.
func (p *port) drain() {
	for {
		select {
		case <-p.closing:
			return
		case f := <-p.queue:
			_, _ = p.file.Write(f) // waits until there is room; a card that is gone misses nothing
			p.mu.Lock()
			p.waiting--
			p.mu.Unlock()
		}
	}
}

// forget removes an address that another port has now.
func (p *port) forget(a address) {
	if i := slices.Index(p.learnt, a); i >= 0 {
		p.learnt = slices.Delete(p.learnt, i, i+1)
	}
}

// close makes the port's goroutine end; wait waits for it.
func (p *port) close() {
	p.once.Do(func() {
		close(p.closing)
		_ = p.file.Close() // ends a write that waits
	})
}

func (p *port) wait() { p.pending.Wait() }
