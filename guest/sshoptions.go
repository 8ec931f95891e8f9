package guest

import (
	"context"
	"net"
	"strconv"

	"golang.org/x/crypto/ssh"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/vm"
)

// SSHOption changes how [Manager.SSH] and [SSHReady] connect.
type SSHOption func(*sshOptions)

type sshOptions struct {
	user    string
	port    int
	signers []ssh.Signer
	hosts   []ssh.PublicKey
	dial    DialFunc
}

// DialFunc opens a connection to an address of the guest, such as "tcp" and "guest:22".
type DialFunc func(ctx context.Context, network, address string) (net.Conn, error)

// WithUser logs in as this user. Default: root.
func WithUser(name string) SSHOption { return func(o *sshOptions) { o.user = name } }

// WithPort connects to this port of the guest. Default: 22.
func WithPort(port int) SSHOption { return func(o *sshOptions) { o.port = port } }

// WithKey logs in with these keys, such as an [SSHKey] that a seed brought in. Default: a
// new key, which the guest's agent brings in.
func WithKey(keys ...ssh.Signer) SSHOption {
	return func(o *sshOptions) { o.signers = append(o.signers, keys...) }
}

// WithHostKey takes only a server that has one of these keys. Default: those that the
// guest's agent reads in the guest.
func WithHostKey(keys ...ssh.PublicKey) SSHOption {
	return func(o *sshOptions) { o.hosts = append(o.hosts, keys...) }
}

// WithDial reaches the guest by dial, which is given "tcp" and "guest:PORT". Default: a
// forward to the port, from the VM's networks; without one [Manager.Dial].
func WithDial(dial DialFunc) SSHOption { return func(o *sshOptions) { o.dial = dial } }

func newSSHOptions(opts []SSHOption) sshOptions {
	o := sshOptions{user: "root", port: 22}
	for _, opt := range opts {
		opt(&o)
	}
	return o
}

// dialer returns how to reach the guest's port. A forward needs no agent, which Dial would
// wait for in guests without maqet's own init.
func (o sshOptions) dialer(m *Manager, g vm.Guest, inst vm.Instance) (func(ctx context.Context) (net.Conn, error), error) {
	if o.dial != nil {
		return func(ctx context.Context) (net.Conn, error) {
			return o.dial(ctx, "tcp", net.JoinHostPort("guest", strconv.Itoa(o.port)))
		}, nil
	}
	if f, ok := forwardTo(inst, g.Runtime().Forwards, o.port); ok {
		return func(ctx context.Context) (net.Conn, error) { return dialHost(ctx, f) }, nil
	}
	if g.Runtime().Sockets[vm.ChannelStream0] != "" {
		return func(ctx context.Context) (net.Conn, error) {
			return m.Dial(ctx, inst.ID, "tcp", net.JoinHostPort("localhost", strconv.Itoa(o.port)))
		}, nil
	}
	if card, ok := userCard(inst); ok {
		return func(ctx context.Context) (net.Conn, error) { return m.forwardOnce(ctx, g, card, o.port) }, nil
	}
	return nil, &errors.Error{Kind: errors.ErrInvalidConfiguration, Msg: "no way leads to port " + strconv.Itoa(o.port) + " of the guest",
		Hint: "give the VM a network of type user, or a forward to that port, or use guest.WithDial"}
}
