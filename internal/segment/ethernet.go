//go:build linux

package segment

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/maqet/maqet/internal/inotify"
)

const (
	// maxFrame is the longest frame that is passed on: an MTU of 9000 bytes, the header, and
	// a VLAN tag. The frame check sequence does not exist between virtual cards.
	maxFrame  = 9000 + headerSize + 4
	maxPorts  = 1024 // cards on one segment
	maxLearnt = 256  // addresses behind one card
)

// ethernet is a switch that runs.
type ethernet struct {
	dir     string
	log     *slog.Logger
	socket  *os.File // what the cards send to
	watcher *inotify.Watcher

	mu    sync.Mutex
	ports map[string]*port // by the name of their sockets
	table map[address]*port
}

// open makes the switch of the segment in dir; the caller holds its lock. Frames are kept
// from now on, and passed on once run is called.
func open(dir string, log *slog.Logger) (*ethernet, error) {
	s := &ethernet{dir: dir, log: log, ports: map[string]*port{}, table: map[address]*port{}}
	var err error
	if s.watcher, err = inotify.New(); err != nil {
		return nil, err
	}
	if _, err = s.watcher.Add(dir, unix.IN_CREATE|unix.IN_ATTRIB|unix.IN_DELETE|unix.IN_ONLYDIR); err == nil {
		s.socket, err = listen(SwitchPath(dir))
	}
	if err == nil {
		err = s.scan()
	}
	if err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

// listen binds the switch's socket in place of one that a dead process left.
func listen(path string) (*os.File, error) {
	if err := remove(path); err != nil {
		return nil, err
	}
	fd, err := datagramSocket()
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), path)
	// The socket's mode becomes that of its file.
	err = os.NewSyscallError("fchmod", unix.Fchmod(fd, 0o600))
	if err == nil {
		if err = unix.Bind(fd, &unix.SockaddrUnix{Name: path}); err != nil {
			err = &os.PathError{Op: "bind", Path: path, Err: err}
		}
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// run passes frames on until ctx ends, and returns when all goroutines have ended.
func (s *ethernet) run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { _ = s.socket.Close() }) // ends forward
	defer stop()
	var watching sync.WaitGroup
	watchCtx, cancel := context.WithCancel(ctx)
	watching.Go(func() { s.watch(watchCtx) })
	err := s.forward()
	cancel()
	watching.Wait()
	if ctx.Err() != nil {
		err = nil
	}
	return errors.Join(err, s.close())
}

// close ends what open made, and the ports. Only one goroutine is left by then.
func (s *ethernet) close() error {
	errs := []error{s.watcher.Close()}
	if s.socket != nil {
		if err := s.socket.Close(); !errors.Is(err, os.ErrClosed) {
			errs = append(errs, err)
		}
	}
	for _, p := range s.ports {
		p.close()
	}
	for _, p := range s.ports {
		p.wait()
	}
	return errors.Join(errs...)
}

// watch keeps the ports in step with the sockets in the folder.
func (s *ethernet) watch(ctx context.Context) {
	for {
		events, err := s.watcher.Wait(ctx)
		if err != nil {
			if ctx.Err() == nil {
				s.log.Warn("new cards on the segment are not seen any more", "error", err)
			}
			return
		}
		for _, ev := range events {
			switch {
			case ev.Watch < 0: // events were lost
				err = s.scan()
			case !isPort(ev.Name):
			case ev.Mask&unix.IN_CREATE != 0:
				s.unplug(ev.Name) // an earlier card of that name is gone
				err = s.plug(ev.Name)
			case ev.Mask&unix.IN_ATTRIB != 0:
				// The kernel makes a socket's file a moment before it finds the socket by
				// it. Who starts a machine changes the file's mode afterwards.
				err = s.plug(ev.Name)
			case ev.Mask&unix.IN_DELETE != 0:
				s.unplug(ev.Name)
			}
			if err != nil {
				s.log.Debug("a card is not reached", "card", ev.Name, "error", err)
			}
		}
	}
}

// scan plugs all cards that are there in anew: who has a name now may be another one than
// before.
func (s *ethernet) scan() error {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return err
	}
	for _, name := range s.names() {
		s.unplug(name)
	}
	for _, e := range entries {
		if !isPort(e.Name()) {
			continue
		}
		if err := s.plug(e.Name()); err != nil { // nobody has it open any more
			s.log.Debug("a card is not reached", "card", e.Name(), "error", err)
		}
	}
	return nil
}

func (s *ethernet) names() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	names := make([]string, 0, len(s.ports))
	for name := range s.ports {
		names = append(names, name)
	}
	return names
}

// plug adds the port for a card's socket, if there is none.
func (s *ethernet) plug(name string) error {
	s.mu.Lock()
	have, full := s.ports[name] != nil, len(s.ports) >= maxPorts
	s.mu.Unlock()
	if have {
		return nil
	}
	if full {
		return fmt.Errorf("there are %d cards on it already", maxPorts)
	}
	p, err := dial(filepath.Join(s.dir, name))
	if err != nil {
		return err
	}
	s.mu.Lock()
	other := s.ports[name]
	if other == nil {
		s.ports[name] = p
	}
	s.mu.Unlock()
	if other != nil { // the other goroutine was quicker
		p.close()
		p.wait()
	}
	return nil
}

// unplug removes a port and what was learnt of it.
func (s *ethernet) unplug(name string) {
	s.mu.Lock()
	p := s.ports[name]
	delete(s.ports, name)
	if p != nil {
		for _, a := range p.learnt {
			delete(s.table, a)
		}
	}
	s.mu.Unlock()
	if p != nil {
		p.close()
		p.wait()
	}
}

// forward passes on what comes, until the socket is closed.
func (s *ethernet) forward() error {
	conn, err := s.socket.SyscallConn()
	if err != nil {
		return err
	}
	buf := make([]byte, maxFrame+1) // one more, to see that a frame is too long
	for {
		var n int
		var from unix.Sockaddr
		var failure error
		err := conn.Read(func(fd uintptr) bool {
			n, from, failure = unix.Recvfrom(int(fd), buf, 0)
			return !errors.Is(failure, unix.EAGAIN) && !errors.Is(failure, unix.EINTR)
		})
		if err := errors.Join(err, os.NewSyscallError("recvfrom", failure)); err != nil {
			return err
		}
		if card, ok := s.sender(from); ok {
			s.pass(card, buf[:n])
		}
	}
}

// sender returns the name of the card that sent a datagram; what is not from a socket of
// the folder is nobody's.
func (s *ethernet) sender(from unix.Sockaddr) (string, bool) {
	addr, ok := from.(*unix.SockaddrUnix)
	if !ok {
		return "", false
	}
	name, ok := strings.CutPrefix(addr.Name, s.dir+"/")
	return name, ok && isPort(name)
}

// pass passes a frame on that came from a card. It never waits.
func (s *ethernet) pass(card string, data []byte) {
	f, ok := parse(data)
	if !ok {
		return
	}
	s.mu.Lock()
	from := s.ports[card]
	s.mu.Unlock()
	if from == nil { // its inotify event is still to come
		if s.plug(card) != nil {
			return
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if from = s.ports[card]; from == nil {
		return
	}
	s.learn(f.source, from)
	if to := s.table[f.destination]; to != nil && !f.destination.group() {
		if to != from { // else it is there already
			to.send(f.data, nil)
		}
		return
	}
	var kept []byte // one copy for all who can't take it at once
	for _, p := range s.ports {
		if p != from {
			kept = p.send(f.data, kept)
		}
	}
}

// learn remembers which card has an address. A machine that makes addresses up forgets its
// own first ones, not those of others.
func (s *ethernet) learn(a address, p *port) {
	old := s.table[a]
	if old == p {
		return
	}
	if old != nil {
		old.forget(a)
	}
	if len(p.learnt) >= maxLearnt {
		delete(s.table, p.learnt[0])
		p.learnt = p.learnt[1:]
	}
	p.learnt = append(p.learnt, a)
	s.table[a] = p
}
