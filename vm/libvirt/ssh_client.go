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
	r, w := io.Pipe()
	closed := make(chan struct{})
	c.work.Go(func() {
		_, err := io.Copy(w, channel)
		w.CloseWithError(err) // nil: io.EOF
	})
	c.work.Go(func() {
		select {
		case <-closed:
			_ = channel.Close() // blocks as long as the network does
		case <-c.ended:
		}
	})
	return &sshConn{Conn: channel, read: r, close: sync.OnceFunc(func() {
		_ = r.Close() // never fails
		close(closed)
		c.leave()
	})}, nil
}

func (c *sshClient) leave() {
	c.mu.Lock()
	c.users--
	last := c.retired && c.users == 0
	c.mu.Unlock()
	if last {
		_ = c.raw.Close() // the rest is done when the host is closed
	}
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

// sshConn is one connection to a socket. An SSH channel that is closed goes on to read until the
// other side closes it as well, which may be gone: here it ends at once. It has no deadlines.
type sshConn struct {
	net.Conn
	read  *io.PipeReader
	close func()
}

func (c *sshConn) Read(p []byte) (int, error) {
	n, err := c.read.Read(p)
	if errors.Is(err, io.ErrClosedPipe) {
		err = net.ErrClosed
	}
	return n, err
}

func (c *sshConn) Close() error {
	c.close()
	return nil
}
