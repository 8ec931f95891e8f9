package libvirt

import (
	"net"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// connRelay stands between a host and a daemon, so that a test can cut the network, freeze it,
// or have another daemon in the place of the first.
type connRelay struct {
	t        testing.TB
	listener net.Listener
	work     sync.WaitGroup

	mu     sync.Mutex
	target string // the daemon's socket; empty: who connects is cut off
	pairs  map[net.Conn]net.Conn
	frozen chan struct{} // nothing passes until it is closed; nil: all passes
	made   int           // connections so far
}

// newConnRelay listens on an address of the network unix or tcp.
func newConnRelay(t testing.TB, network, target string) *connRelay {
	t.Helper()
	address := "127.0.0.1:0"
	if network == "unix" {
		address = filepath.Join(t.TempDir(), "s")
	}
	l, err := net.Listen(network, address)
	require.NoError(t, err)
	r := &connRelay{t: t, listener: l, target: target, pairs: map[net.Conn]net.Conn{}}
	r.work.Go(r.accept)
	t.Cleanup(func() {
		_ = l.Close()
		r.thaw()
		r.cut()
		r.work.Wait()
	})
	return r
}

func (r *connRelay) uri(d string) string { return d + "?socket=" + r.listener.Addr().String() }

func (r *connRelay) accept() {
	for {
		client, err := r.listener.Accept()
		if err != nil {
			return
		}
		r.serve(client)
	}
}

func (r *connRelay) serve(client net.Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.made++
	if r.target == "" {
		_ = client.Close()
		return
	}
	server, err := net.Dial("unix", r.target)
	if err != nil {
		_ = client.Close()
		return
	}
	r.pairs[client] = server
	r.work.Go(func() { r.copy(client, server) })
	r.work.Go(func() { r.copy(server, client) })
}

func (r *connRelay) copy(to, from net.Conn) {
	defer func() { _ = to.Close(); _ = from.Close() }()
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		r.mu.Lock()
		frozen := r.frozen
		r.mu.Unlock()
		if frozen != nil {
			<-frozen
		}
		if err != nil {
			return
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}

// freeze lets nothing through, as a network does that is gone.
func (r *connRelay) freeze() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.frozen = make(chan struct{})
}

func (r *connRelay) thaw() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.frozen != nil {
		close(r.frozen)
		r.frozen = nil
	}
}

// cut ends all connections.
func (r *connRelay) cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for client, server := range r.pairs {
		_ = client.Close()
		_ = server.Close()
	}
	clear(r.pairs)
}

// to has later connections lead to another socket, or to none.
func (r *connRelay) to(target string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.target = target
}

func (r *connRelay) connections() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.made
}
