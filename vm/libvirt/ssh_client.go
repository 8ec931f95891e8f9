package libvirt

import (
	"context"
	"io"
	"net"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/maqet/maqet/errors"
)

// sshClient is an SSH connection that ends when it is retired and the last connection that
// stands on it is closed.
type sshClient struct {
	client *ssh.Client
	raw    net.Conn
	ended  chan struct{}  // closed when it ends
	work   sync.WaitGroup // of its connections

	mu      sync.Mutex
	users   int
	retired bool
	gone    bool
}

func newSSHClient(c *ssh.Client, raw net.Conn) *sshClient {
	return &sshClient{client: c, raw: raw, ended: make(chan struct{})}
}

// channelLimit is how long a host may take to open a channel until it is tried with another
// SSH connection.
const channelLimit = 5 * time.Second

// open connects to the first of the sockets that there is.
func (c *sshClient) open(ctx context.Context, sockets []string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, channelLimit)
	defer cancel()
	var errs []error
	for _, path := range sockets {
		channel, err := c.client.DialContext(ctx, "unix", path)
		if err == nil {
			return c.conn(channel)
		}
		errs = append(errs, err)
	}
	return nil, errs[0]
}

// conn makes a connection of a channel.
func (c *sshClient) conn(channel net.Conn) (net.Conn, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gone {
		return nil, errClosed // and the channel has ended
	}
	c.users++
	near, far := net.Pipe()
	closed, sent := make(chan struct{}), make(chan struct{})
	c.work.Go(func() {
		_, _ = io.Copy(far, channel) // all there is to tell is that it has ended
		_ = far.Close()
	})
	c.work.Go(func() {
		defer close(sent)
		if _, err := io.Copy(channel, far); err != nil { // what came before that can be read yet
			_, _ = io.Copy(io.Discard, far)
		}
	})
	c.work.Go(func() {
		select {
		case <-closed:
			c.flush(sent)
			_ = channel.Close() // blocks as long as the network does
		case <-c.ended:
			_ = far.Close()
		}
	})
	return &sshConn{Conn: near, close: sync.OnceFunc(func() {
		_ = near.Close() // a pipe's never fails
		close(closed)
		c.leave()
	})}, nil
}

// flush waits until what was written is on its way, if the network takes it.
func (c *sshClient) flush(sent <-chan struct{}) {
	late := time.NewTimer(politeness)
	defer late.Stop()
	select {
	case <-sent:
	case <-late.C:
	case <-c.ended:
	}
}

func (c *sshClient) leave() {
	c.mu.Lock()
	c.users--
	last := c.retired && c.users == 0
	c.mu.Unlock()
	if last {
		_ = c.raw.Close() // end does the rest
	}
}

// over reports whether nobody uses it, nor will.
func (c *sshClient) over() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.retired && c.users == 0
}

// retire has it end when nobody uses it.
func (c *sshClient) retire() {
	c.mu.Lock()
	c.retired = true
	last := c.users == 0
	c.mu.Unlock()
	if last {
		_ = c.raw.Close()
	}
}

// end ends it at once, under whatever stands on it, and waits for what belongs to it.
func (c *sshClient) end() {
	c.mu.Lock()
	gone := c.gone
	c.gone = true
	c.mu.Unlock()
	if !gone {
		close(c.ended)
	}
	_ = c.raw.Close()
	_ = c.client.Wait() // says that it is closed
	c.work.Wait()
}

// sshConn is one connection to a socket: the near end of a pipe whose far one is copied to and from
// an SSH channel. That itself has no deadlines, by which calls and streams end with their contexts;
// and when it is closed it goes on to read until the other side closes it as well, which may be
// gone.
type sshConn struct {
	net.Conn
	close func()
}

func (c *sshConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	return n, pipeError(err)
}

func (c *sshConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	return n, pipeError(err)
}

func (c *sshConn) Close() error {
	c.close()
	return nil
}

// pipeError is what a socket would say.
func pipeError(err error) error {
	if errors.Is(err, io.ErrClosedPipe) {
		return net.ErrClosed
	}
	return err
}
