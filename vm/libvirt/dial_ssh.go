package libvirt

import (
	"context"
	"net"
	"os/user"
	"sync"

	"golang.org/x/crypto/ssh"

	"github.com/maqet/maqet/errors"
)

// sshDialer makes connections to sockets of another host through one SSH connection, which is
// made when it is needed and replaced when it is lost or hangs. It asks sshd itself for the
// sockets ("direct-streamlocal@openssh.com" in OpenSSH's PROTOCOL, section 2.4), so that no
// program is needed on the other side.
type sshDialer struct {
	endpoint *endpoint
	turn     chan struct{} // holds a value while somebody looks for, or makes, a client

	current *sshClient // under turn
	mu      sync.Mutex
	all     map[*sshClient]struct{} // those that are connected, or were
	closed  bool
}

func newSSHDialer(e *endpoint) *sshDialer {
	return &sshDialer{endpoint: e, turn: make(chan struct{}, 1), all: make(map[*sshClient]struct{})}
}

func (d *sshDialer) dial(ctx context.Context) (net.Conn, error) {
	for {
		client, fresh, err := d.client(ctx)
		if err != nil {
			return nil, err
		}
		c, err := client.open(ctx, d.endpoint.sockets())
		var rejected *ssh.OpenChannelError
		switch {
		case err == nil:
			return c, nil
		case errors.As(err, &rejected):
			return nil, &sshSocketError{d.endpoint.sockets(), err}
		case ctx.Err() != nil:
			return nil, ended(ctx)
		case fresh:
			return nil, err
		}
		d.retire(ctx, client)
	}
}

// sshSocketError is a socket that sshd could not, or would not, connect to.
type sshSocketError struct {
	paths []string
	err   error
}

func (e *sshSocketError) Error() string { return "socket " + e.paths[0] + ": " + e.err.Error() }

func (e *sshSocketError) Unwrap() error { return e.err }

// client returns the SSH connection, and whether it is a new one.
func (d *sshDialer) client(ctx context.Context) (_ *sshClient, fresh bool, _ error) {
	select {
	case d.turn <- struct{}{}:
		defer func() { <-d.turn }()
	case <-ctx.Done():
		return nil, false, ended(ctx)
	}
	if d.current != nil {
		return d.current, false, nil
	}
	d.sweep()
	c, err := d.connect(ctx)
	if err != nil {
		return nil, false, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		c.end()
		return nil, false, errClosed
	}
	d.all[c] = struct{}{}
	d.current = c
	return c, true, nil
}

// sweep forgets the SSH connections that have ended and that nobody uses any more.
func (d *sshDialer) sweep() {
	d.mu.Lock()
	var over []*sshClient
	for c := range d.all {
		if c.over() {
			over = append(over, c)
			delete(d.all, c)
		}
	}
	d.mu.Unlock()
	for _, c := range over {
		c.end()
	}
}

func (d *sshDialer) connect(ctx context.Context) (*sshClient, error) {
	name := d.endpoint.user
	if name == "" {
		me, err := user.Current()
		if err != nil {
			return nil, err
		}
		name = me.Username
	}
	address := d.endpoint.address()
	hosts, err := newHostKeys(d.endpoint, address)
	if err != nil {
		return nil, err
	}
	keys := &sshKeys{ssh: d.endpoint.ssh}
	defer keys.close()
	var n net.Dialer
	raw, err := n.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = raw.Close() })
	defer stop()
	conn, channels, requests, err := ssh.NewClientConn(raw, address, &ssh.ClientConfig{
		User:              name,
		Auth:              []ssh.AuthMethod{ssh.PublicKeysCallback(func() ([]ssh.Signer, error) { return keys.signers(ctx) })},
		HostKeyCallback:   hosts.check,
		HostKeyAlgorithms: hosts.algorithms,
	})
	switch {
	case err == nil:
		return newSSHClient(ssh.NewClient(conn, channels, requests), raw), nil
	case ctx.Err() != nil:
		return nil, ended(ctx)
	case hosts.err != nil:
		return nil, hosts.err
	case keys.asked:
		return nil, keys.refused(name, err)
	}
	return nil, err
}

// retire has the next dial make another SSH connection. Those that stand on this one go on.
func (d *sshDialer) retire(ctx context.Context, c *sshClient) {
	select {
	case d.turn <- struct{}{}:
		defer func() { <-d.turn }()
	case <-ctx.Done():
		return
	}
	if d.current != c {
		return
	}
	d.current = nil
	c.retire()
}

func (d *sshDialer) close() {
	d.mu.Lock()
	d.closed = true
	all := d.all
	d.all = nil
	d.mu.Unlock()
	for c := range all {
		c.end()
	}
}
