package guest_test

import (
	"context"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/guest"
	"github.com/maqet/maqet/vm"
)

func newKey(t *testing.T) guest.SSHKey {
	t.Helper()
	key, err := guest.NewSSHKey()
	require.NoError(t, err)
	return key
}

func TestSSHKey(t *testing.T) {
	key := newKey(t)
	require.Regexp(t, `^ssh-ed25519 [A-Za-z0-9+/]+=*$`, key.AuthorizedKey())
	require.NotEqual(t, key.AuthorizedKey(), newKey(t).AuthorizedKey())
}

// TestSSHForward connects through a forward of the record, the chosen port first.
func TestSSHForward(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	key := newKey(t)
	s := newSSHServer(t, key.PublicKey())
	s.wg.Go(func() {
		for conn, err := l.Accept(); err == nil; conn, err = l.Accept() {
			s.mu.Lock()
			s.conns = append(s.conns, conn)
			s.mu.Unlock()
			s.wg.Go(func() { s.serve(conn) })
		}
	})
	t.Cleanup(func() { _ = l.Close() })
	port := l.Addr().(*net.TCPAddr).Port
	for name, networks := range map[string][]vm.Network{
		"as given":      {{Type: "user"}, {Forwards: []vm.Forward{{Port: 1, Guest: 80}, {Port: 1, Guest: 22, Proto: "udp"}, {Host: "0.0.0.0", Port: port, Guest: 22}}}},
		"chosen":        {{Name: "lan", Forwards: []vm.Forward{{Guest: 22}}}},
		"unplugged":     {{Name: "lan", Forwards: []vm.Forward{{Guest: 22}}}},
		"not this port": {{Type: "passt", Forwards: []vm.Forward{{Port: port, Guest: 2222}}}},
	} {
		t.Run(name, func(t *testing.T) {
			v := newFakeVM(t)
			v.inst.Config.Agent.Disabled = true
			v.inst.Config.Networks = networks
			if name == "unplugged" {
				v.inst.Unplugged = []string{"lan"}
			}
			v.inst.Runtime.Forwards = map[string][]vm.Forward{"lan": {{Port: port, Guest: 22}}}
			in, err := v.manager(t).SSH(soon(t), "box", guest.WithKey(key), guest.WithUser("dev"))
			if name == "not this port" || name == "unplugged" {
				require.ErrorIs(t, err, errors.ErrInvalidConfiguration)
				require.ErrorContains(t, err, "port 22")
				return
			}
			require.NoError(t, err)
			require.Equal(t, "dev", in.User())
			require.NoError(t, in.Close())
			require.NoError(t, in.Close())
		})
	}
}

// TestSSHPatience: connections that nobody answers, that break, and a key that comes late
// are no reason to give up.
func TestSSHPatience(t *testing.T) {
	v := newFakeVM(t)
	v.inst.Config.Agent.Disabled = true
	key, s := newKey(t), newSSHServer(t, nil)
	var tries atomic.Int32
	dial := func(ctx context.Context, network, address string) (net.Conn, error) {
		require.Equal(t, "tcp guest:2200", network+" "+address)
		switch tries.Add(1) {
		case 1:
			return nil, errors.New("refused")
		case 2: // as QEMU does before there is a guest
			host, _ := socketpair(t)
			return host, nil
		case 3:
			host, peer := socketpair(t)
			return host, peer.Close()
		case 5:
			s.allow(key.PublicKey())
		}
		return s.dial(ctx, network, address)
	}
	require.NoError(t, v.manager(t).Wait(soon(t), "box", guest.SSHReady(guest.WithDial(dial), guest.WithKey(key), guest.WithPort(2200))))
	require.EqualValues(t, 5, tries.Load())
}

func TestSSHGivesUp(t *testing.T) {
	silent := func(context.Context, string, string) (net.Conn, error) { host, _ := socketpair(t); return host, nil }
	v := newFakeVM(t)
	m, key := v.manager(t), newKey(t)

	ctx, cancel := context.WithCancel(t.Context())
	var cancelled time.Time
	time.AfterFunc(100*time.Millisecond, func() { cancelled = time.Now(); cancel() })
	_, err := m.SSH(ctx, "box", guest.WithDial(silent), guest.WithKey(key))
	require.Less(t, time.Since(cancelled), 2*time.Second)
	require.ErrorIs(t, err, context.Canceled)

	v.inst.Config.Timeouts.Ready = vm.Duration(100 * time.Millisecond)
	_, err = m.SSH(soon(t), "box", guest.WithDial(newSSHServer(t, nil).dial), guest.WithKey(key))
	require.ErrorIs(t, err, errors.ErrGuest)
	require.ErrorContains(t, err, "Timeouts.Ready is the limit")
	require.ErrorContains(t, err, "unable to authenticate", "why the last try failed")
	_, err = m.SSH(soon(t), "box", guest.WithDial(silent)) // for which an agent would bring a key in
	require.ErrorIs(t, err, errors.ErrGuest)

	time.AfterFunc(50*time.Millisecond, func() { v.die(&errors.GuestError{Kind: errors.ErrGuestPanic, VM: "box"}) })
	v.inst.Config.Timeouts.Ready = 0
	_, err = m.SSH(soon(t), "box", guest.WithDial(silent), guest.WithKey(key))
	require.ErrorIs(t, err, errors.ErrGuestPanic)
	_, err = m.SSH(soon(t), "none", guest.WithDial(silent))
	require.ErrorIs(t, err, errors.ErrVMNotFound)
}

func TestSSHHostKey(t *testing.T) {
	v := newFakeVM(t)
	v.inst.Config.Agent.Disabled = true
	m, key := v.manager(t), newKey(t)
	first, second := newSSHServer(t, key.PublicKey()), newSSHServer(t, key.PublicKey())
	connect := func(s *sshServer, opts ...guest.SSHOption) (*guest.SSH, error) {
		in, err := m.SSH(soon(t), "box", append(opts, guest.WithDial(s.dial), guest.WithKey(key))...)
		if err == nil {
			require.NoError(t, in.Close())
		}
		return in, err
	}
	_, err := connect(first, guest.WithHostKey(second.host.PublicKey()))
	require.ErrorContains(t, err, "another host key")
	in, err := connect(first)
	require.NoError(t, err)
	got, known := in.HostKey()
	require.False(t, known, "the first one is trusted")
	require.Equal(t, ssh.FingerprintSHA256(first.host.PublicKey()), ssh.FingerprintSHA256(got))
	in, err = connect(first)
	require.NoError(t, err)
	_, known = in.HostKey()
	require.True(t, known)
	_, err = connect(second)
	require.ErrorContains(t, err, "another host key")
	_, err = connect(second, guest.WithHostKey(second.host.PublicKey()))
	require.NoError(t, err)
}

// TestSSHHostKeyOfPort: a guest may have several servers, each with a key of its own.
func TestSSHHostKeyOfPort(t *testing.T) {
	v := newFakeVM(t)
	v.inst.Config.Agent.Disabled = true
	m, key := v.manager(t), newKey(t)
	first, second := newSSHServer(t, key.PublicKey()), newSSHServer(t, key.PublicKey())
	dial := func(ctx context.Context, network, address string) (net.Conn, error) {
		if address == "guest:22" {
			return first.dial(ctx, network, address)
		}
		return second.dial(ctx, network, address)
	}
	for range 2 {
		for _, port := range []int{2222, 22} {
			in, err := m.SSH(soon(t), "box", guest.WithDial(dial), guest.WithKey(key), guest.WithPort(port))
			require.NoError(t, err)
			require.NoError(t, in.Close())
		}
	}
	_, err := m.SSH(soon(t), "box", guest.WithDial(second.dial), guest.WithKey(key))
	require.ErrorContains(t, err, "another host key")
}
