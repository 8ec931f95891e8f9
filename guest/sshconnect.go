package guest

import (
	"bufio"
	"context"
	"net"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/maqet/maqet/errors"
)

// Nothing tells the host when a guest's sshd listens, or when a user's key has come, so
// connecting is tried again and again. QEMU's user network accepts a connection before
// there is any guest, and one made too early is answered late or never: so the server has
// a short time for its first word, which grows for a guest that is slow.
const (
	wordFirst    = 2 * time.Second
	wordLast     = 15 * time.Second
	retryFirst   = 50 * time.Millisecond
	retryLast    = time.Second
	handshakeMax = time.Minute
)

// sshConnect is one way of getting in.
type sshConnect struct {
	dial    func(ctx context.Context) (net.Conn, error)
	user    string
	signers []ssh.Signer
	keys    *hostKeys
	// spoke is called once, when a server has said its first word.
	spoke func(ctx context.Context)
}

// connect tries until it is let in, the server proves to be another one, or ctx ends:
// then the error has ctx's, and that of the last try.
func (c *sshConnect) connect(ctx context.Context) (*ssh.Client, error) {
	word, pause := wordFirst, retryFirst
	timer := time.NewTimer(pause)
	defer timer.Stop()
	var last error
	for {
		client, err := c.try(ctx, word)
		switch {
		case err == nil:
			return client, nil
		case ctx.Err() != nil:
			return nil, errors.Join(contextError(ctx), last)
		case errors.Is(err, errHostKey):
			return nil, err
		}
		last = err
		timer.Reset(pause)
		select {
		case <-ctx.Done():
			return nil, errors.Join(contextError(ctx), last)
		case <-timer.C:
		}
		word, pause = min(word*3/2, wordLast), min(pause*3/2, retryLast)
	}
}

// try connects once. When ctx ends the connection is closed, which ends everything that
// waits for it.
func (c *sshConnect) try(ctx context.Context, word time.Duration) (*ssh.Client, error) {
	conn, err := c.dial(ctx)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	client, err := c.handshake(ctx, conn, word)
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	if !stop() { // closed at the last moment
		_ = client.Close()
		return nil, contextError(ctx)
	}
	return client, conn.SetDeadline(time.Time{})
}

func (c *sshConnect) handshake(ctx context.Context, conn net.Conn, word time.Duration) (*ssh.Client, error) {
	if err := conn.SetDeadline(time.Now().Add(word)); err != nil {
		return nil, err
	}
	in := &peeked{Conn: conn, in: bufio.NewReader(conn)}
	if _, err := in.in.Peek(1); err != nil {
		return nil, &errors.Error{Kind: errors.ErrGuest, Msg: "no ssh server spoke", Err: err}
	}
	if c.spoke != nil {
		c.spoke(ctx)
		c.spoke = nil
	}
	if err := conn.SetDeadline(time.Now().Add(handshakeMax)); err != nil {
		return nil, err
	}
	link, channels, requests, err := ssh.NewClientConn(in, conn.RemoteAddr().String(), &ssh.ClientConfig{
		User: c.user, Auth: []ssh.AuthMethod{ssh.PublicKeys(c.signers...)},
		HostKeyCallback:   func(_ string, _ net.Addr, key ssh.PublicKey) error { return c.keys.check(key) },
		HostKeyAlgorithms: c.keys.algorithms(),
	})
	if err != nil {
		return nil, err
	}
	return ssh.NewClient(link, channels, requests), nil
}

// peeked is a connection of which the beginning was looked at.
type peeked struct {
	net.Conn
	in *bufio.Reader
}

func (p *peeked) Read(b []byte) (int, error) { return p.in.Read(b) }
