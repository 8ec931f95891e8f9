package guest

import (
	"context"
	"io/fs"
	"net"
	"path"
	"slices"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/vm"
)

// SSH is a connection to a guest's ssh server: for guests without an agent, or for what
// a user who is not root may do. It is safe for concurrent use; at most eight programs
// run at once, more wait. It ends with Close, with the guest, and with its Manager.
type SSH struct {
	in   entrance
	way  *sshWay
	user string
	keys *hostKeys
}

// SSH connects to the guest's ssh server and logs in as root, unless [WithUser] is given.
// It goes to port 22 through a forward of the configuration, or one that exists for this
// connection only, on a network card of type user; unless [WithDial] is given.
//
// Without [WithKey] a new key, which only this process has, is brought in by the guest's
// agent; it stays in the user's authorized_keys, and the user must be there by then. Where an
// agent finds host keys in the guest's /etc/ssh, the server must have one of them. Where
// none answers, or it finds none, the first key that this Manager sees at the port is
// trusted until the guest stops. [WithHostKey] says which one it is.
//
// Nothing tells when a server listens, or when cloud-init has made a user, so it tries
// again until it is let in, ctx ends, or Config.Timeouts.Ready is over: errors.ErrGuest,
// with why the last try failed. A wrong host key ends it at once, and so does the guest's
// own end.
func (m *Manager) SSH(ctx context.Context, ref string, opts ...SSHOption) (*SSH, error) {
	c, err := m.begin(ctx, "ssh to VM", ref)
	if err != nil {
		return nil, err
	}
	defer c.end()
	s, err := m.ssh(c, newSSHOptions(opts))
	if err == nil {
		return s, nil
	}
	var limit *sshLimitError
	if errors.As(err, &limit) && context.Cause(c.guard) == nil || c.caller.Err() != nil {
		return nil, &errors.Error{Kind: errors.ErrGuest, Op: c.op, VM: m.name(ref), Err: err,
			Hint: "does sshd run in the guest, and is the key the user's? Config.Timeouts.Ready is the limit"}
	}
	return nil, c.explain(err)
}

// sshLimitError is what was the matter when the time was over.
type sshLimitError struct{ error }

func (e *sshLimitError) Unwrap() error { return e.error }

func (m *Manager) ssh(c *call, o sshOptions) (*SSH, error) {
	l, err := m.linkOf(c)
	if err != nil {
		return nil, err
	}
	inst, err := m.machines.Get(c.guard, c.ref)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	epoch := l.epoch
	l.mu.Unlock()
	dial, err := o.dialer(m, l.guest, inst)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(c.guard, readyLimit(inst))
	defer cancel()
	defer context.AfterFunc(m.ctx, cancel)()
	if len(o.signers) == 0 {
		key, err := NewSSHKey()
		if err == nil {
			err = m.authorize(ctx, c.ref, o.user, key.AuthorizedKey())
		}
		if err != nil {
			return nil, err
		}
		o.signers = []ssh.Signer{key}
	}
	keys := &hostKeys{trusted: slices.Clone(o.hosts)}
	way := sshConnect{dial: dial, user: o.user, signers: o.signers, keys: keys}
	if len(o.hosts) == 0 {
		way.spoke = func(ctx context.Context) { keys.trusted = m.knownHostKeys(ctx, inst, l, o.port) }
	}
	client, err := way.connect(ctx)
	if err != nil {
		if ctx.Err() != nil {
			err = &sshLimitError{err}
		}
		return nil, err
	}
	l.setHostKeys(o.port, keys)
	w := newSSHWay(m, client)
	if w == nil {
		return nil, errClosed(c.op, c.ref)
	}
	if !l.keepSSH(epoch, m, w) {
		w.close(nil)
		return nil, lost(errReverted)
	}
	return &SSH{in: entrance{m: m, ref: c.ref, own: w}, way: w, user: o.user, keys: keys}, nil
}

// Exec runs a program as [Manager.Exec] does. The server starts it through the user's
// shell, which has to be one that quotes as POSIX shells do; nothing of the command is
// interpreted by it.
func (s *SSH) Exec(ctx context.Context, cmd Command) (Result, error) { return s.in.exec(ctx, cmd) }

// ReadFile is [Manager.ReadFile] by way of ssh.
func (s *SSH) ReadFile(ctx context.Context, path string) ([]byte, error) {
	return s.in.readFile(ctx, path)
}

// WriteFile is [Manager.WriteFile] by way of ssh.
func (s *SSH) WriteFile(ctx context.Context, path string, data []byte, perm fs.FileMode) error {
	return s.in.writeFile(ctx, path, data, perm)
}

// CopyTo is [Manager.CopyTo] by way of ssh. The guest needs tar.
func (s *SSH) CopyTo(ctx context.Context, hostPath, guestPath string) error {
	return s.in.copyTo(ctx, hostPath, guestPath)
}

// CopyFrom is [Manager.CopyFrom] by way of ssh. The guest needs tar.
func (s *SSH) CopyFrom(ctx context.Context, guestPath, hostPath string) error {
	return s.in.copyFrom(ctx, guestPath, hostPath)
}

// Wait is [Manager.Wait]; files and commands that conditions ask for are looked at by way
// of ssh, so that it needs no agent.
func (s *SSH) Wait(ctx context.Context, conds ...Condition) error { return s.in.wait(ctx, conds) }

// Dial connects to an address as seen from the guest: "tcp" and "localhost:80", or "unix"
// and a path.
func (s *SSH) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := s.way.client.DialContext(ctx, network, address)
	return conn, errors.Wrap(errors.ErrGuest, "connect to "+address+" through ssh in VM", s.in.ref, err)
}

// User is who it is logged in as.
func (s *SSH) User() string { return s.user }

// HostKey is the key that the server has proved to have, and whether it was known before:
// by [WithHostKey], from the guest's agent, or from an earlier connection.
func (s *SSH) HostKey() (key ssh.PublicKey, known bool) {
	return s.keys.seen, len(s.keys.trusted) > 0
}

// Done is closed when the connection has ended.
func (s *SSH) Done() <-chan struct{} { return s.way.done() }

// Close ends the connection and the calls that use it. It is idempotent.
func (s *SSH) Close() error {
	s.way.close(nil)
	return nil
}

// SSHReady holds when [Manager.SSH] gets in with these options; the connection is closed
// again.
func SSHReady(opts ...SSHOption) Condition {
	user := newSSHOptions(opts).user
	return condition{"ssh lets " + user + " in", func(ctx context.Context, t Target) error {
		s, err := t.m.SSH(ctx, t.ref, opts...)
		if err != nil {
			return err
		}
		return s.Close()
	}}
}

// hostKeyTime is how long an agent has to say which host keys the guest has. Its server has
// spoken by then, so an agent that is installed runs, or is about to.
const hostKeyTime = 15 * time.Second

// knownHostKeys returns the keys that the guest's server has: those an earlier connection
// saw, else those that lie where OpenSSH has them (sshd_config(5), HostKey). None when
// there is nobody to ask.
func (m *Manager) knownHostKeys(ctx context.Context, inst vm.Instance, l *link, port int) []ssh.PublicKey {
	if keys := l.knownHostKeys(port); len(keys) > 0 || inst.Config.Agent.Disabled {
		return keys
	}
	ctx, cancel := context.WithTimeout(ctx, hostKeyTime)
	defer cancel()
	var keys []ssh.PublicKey
	for _, kind := range []string{"ed25519", "ecdsa", "rsa"} {
		text, err := m.ReadFile(ctx, inst.ID, path.Join("/etc/ssh", "ssh_host_"+kind+"_key.pub"))
		if err != nil {
			continue
		}
		if key, _, _, _, err := ssh.ParseAuthorizedKey(text); err == nil {
			keys = append(keys, key)
		}
	}
	if len(keys) == 0 {
		m.log.DebugContext(ctx, "ssh host key not known, the first one is trusted", "vm", inst.Name)
	}
	return keys
}
