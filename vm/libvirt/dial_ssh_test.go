package libvirt

import (
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/internal/libvirtrpc"
	"github.com/maqet/maqet/vm"
)

// connSSHURI is the URI of the test's daemon behind the server.
func connSSHURI(t *testing.T, s *connSSHD, parameters string) string {
	t.Helper()
	d := daemon.Get(t)
	path := string(d.Driver())[len("qemu://"):]
	return "qemu+ssh://tester@" + s.listener.Addr().String() + path + "?socket=" + d.Socket() + "&" + parameters
}

func connSSHHost(t *testing.T, s *connSSHD, parameters string) *host {
	t.Helper()
	return connHostOf(t, Options{Grace: time.Second, URI: connSSHURI(t, s, parameters)})
}

func TestSSH(t *testing.T) {
	t.Setenv("SSH_AUTH_SOCK", "")
	t.Setenv("HOME", t.TempDir()) // whose keys are not for tests
	s := newConnSSHD(t)
	known, key := "known_hosts="+s.knownHosts(s.host.PublicKey()), "keyfile="+s.keyFile
	h := connSSHHost(t, s, known+"&"+key)
	require.False(t, h.local())
	require.NoError(t, h.call(t.Context(), "ask", "", connVersion))
	require.NoError(t, h.lifeline(t.Context(), "ask", "", connVersion))
	c, err := h.dial(t.Context())
	require.NoError(t, err)
	reading := make(chan error)
	go func() {
		_, err := c.Read(make([]byte, 1))
		reading <- err
	}()
	require.NoError(t, c.Close())
	require.ErrorIs(t, <-reading, net.ErrClosed, "without the other side's help")
	require.Equal(t, []string{"tester"}, s.loggedIn(), "one SSH connection for all")

	s.cut() // and all that stands on it
	require.Eventually(t, func() bool { return h.call(t.Context(), "ask", "", connVersion) == nil }, connLimit, time.Millisecond)
	require.Len(t, s.loggedIn(), 2)
	dialer := h.dialer.(*sshDialer)
	dialer.retire(t.Context(), dialer.current)
	c, err = h.dial(t.Context())
	require.NoError(t, err)
	require.NoError(t, c.Close())
	require.Eventually(t, func() bool {
		dialer.sweep()
		dialer.mu.Lock()
		defer dialer.mu.Unlock()
		return len(dialer.all) == 2
	}, connLimit, time.Millisecond, "the one that was cut is forgotten; the last call's lives")
	require.NoError(t, h.close())

	wrong, _ := s.newKey("wrong")
	for name, tc := range map[string]struct{ parameters, want string }{
		"unknown host":       {key, "connect with ssh once"},
		"changed host":       {key + "&known_hosts=" + s.knownHosts(connKey(t).PublicKey()), "not the host that it was"},
		"changed, auto":      {key + "&no_verify=1&known_hosts=" + s.knownHosts(connKey(t).PublicKey()), "not the host that it was"},
		"no known_hosts":     {key + "&known_hosts=/no/such/file", "/no/such/file"},
		"no key":             {known, "no key was found"},
		"no such key":        {known + "&keyfile=/no/such/key", "/no/such/key"},
		"agent without keys": {known + "&sshauth=agent&" + key, "no key was found"},
		"wrong key":          {known + "&keyfile=" + wrong, "authorized_keys"},
		"locked key":         {known + "&keyfile=" + s.lockedKey(), "add it to the SSH agent"},
	} {
		err := connSSHHost(t, s, tc.parameters).call(t.Context(), "ask", "", connVersion)
		require.ErrorIs(t, err, errors.ErrLibvirtConnection, name)
		require.ErrorContains(t, err, tc.want, name)
	}
	for name, parameters := range map[string]string{"auto": key + "&no_verify=1", "ignore": key + "&known_hosts_verify=ignore"} {
		require.NoError(t, connSSHHost(t, s, parameters).call(t.Context(), "ask", "", connVersion), name)
	}
}

func TestSSHMissingSocket(t *testing.T) {
	s := newConnSSHD(t)
	h := connHostOf(t, Options{URI: "qemu+ssh://" + s.listener.Addr().String() + "/system?socket=/no/such/socket&no_verify=1&keyfile=" + s.keyFile})
	err := h.call(t.Context(), "ask", "", connVersion)
	require.ErrorIs(t, err, errors.ErrLibvirtConnection)
	require.ErrorContains(t, err, "/no/such/socket")
	require.ErrorContains(t, err, "AllowStreamLocalForwarding")
}

func TestSSHAgent(t *testing.T) {
	s := newConnSSHD(t)
	ring := agent.NewKeyring()
	text, err := os.ReadFile(s.keyFile)
	require.NoError(t, err)
	private, err := ssh.ParseRawPrivateKey(text)
	require.NoError(t, err)
	require.NoError(t, ring.Add(agent.AddedKey{PrivateKey: private}))
	socket := filepath.Join(t.TempDir(), "agent")
	l, err := net.Listen("unix", socket)
	require.NoError(t, err)
	defer l.Close()
	ended := make(chan error, 1)
	go func() {
		c, err := l.Accept()
		if err == nil {
			err = agent.ServeAgent(ring, c)
		}
		ended <- err
	}()
	t.Setenv("SSH_AUTH_SOCK", socket)
	h := connSSHHost(t, s, "no_verify=1&sshauth=agent")
	require.NoError(t, h.call(t.Context(), "ask", "", connVersion))
	require.ErrorIs(t, <-ended, io.EOF, "the agent is not kept busy")
}

func TestSSHAgentThatHangs(t *testing.T) {
	s := newConnSSHD(t)
	socket := filepath.Join(t.TempDir(), "agent")
	l, err := net.Listen("unix", socket)
	require.NoError(t, err)
	defer l.Close()
	t.Setenv("SSH_AUTH_SOCK", socket)
	h := connSSHHost(t, s, "no_verify=1&sshauth=agent")
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	_, err = h.dial(ctx)
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

// A host that stops answering does not keep the next connection from being made over a new SSH
// connection, nor the host from being closed.
func TestSSHThatHangs(t *testing.T) {
	s := newConnSSHD(t)
	h := connSSHHost(t, s, "no_verify=1&keyfile="+s.keyFile)
	require.NoError(t, h.call(t.Context(), "ask", "", connVersion))
	s.seal(true)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err := h.dial(ctx)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorIs(t, err, errors.ErrLibvirtConnection)
	dialer := h.dialer.(*sshDialer)
	old, _, err := dialer.client(t.Context())
	require.NoError(t, err)
	s.seal(false)
	dialer.retire(t.Context(), old)
	c, err := h.dial(t.Context())
	require.NoError(t, err)
	require.NoError(t, c.Close())
	require.Len(t, s.loggedIn(), 2)
	require.NoError(t, h.call(t.Context(), "ask", "", connVersion), "on the first, which lives")
}

// Calls and streams end by deadlines, which SSH channels have not.
func TestSSHDeadlines(t *testing.T) {
	s := newConnSSHD(t)
	socket := filepath.Join(t.TempDir(), "silent")
	l, err := net.Listen("unix", socket)
	require.NoError(t, err)
	defer l.Close()
	h := connHostOf(t, Options{URI: "qemu+ssh://" + s.listener.Addr().String() + "/system?socket=" + socket + "&no_verify=1&keyfile=" + s.keyFile})
	c, err := h.dial(t.Context())
	require.NoError(t, err)
	read := func() error {
		_, err := c.Read(make([]byte, 1))
		return err
	}
	reading := make(chan error)
	go func() { reading <- read() }()
	require.NoError(t, c.SetReadDeadline(time.Unix(1, 0)))
	require.ErrorIs(t, <-reading, os.ErrDeadlineExceeded)
	require.NoError(t, c.SetDeadline(time.Time{}))
	go func() { reading <- read() }()
	require.NoError(t, c.Close())
	require.ErrorIs(t, <-reading, net.ErrClosed)
	_, err = c.Write([]byte("late"))
	require.ErrorIs(t, err, net.ErrClosed)

	c, err = h.dial(t.Context())
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err = libvirtrpc.Listen(ctx, c, h.driverURI(), libvirtrpc.Keepalive{})
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

// A guest that says nothing, while its console is read, can be let go of.
func TestSSHGuestIsLetGoOf(t *testing.T) {
	s := newConnSSHD(t)
	b, err := New(Options{URI: connSSHURI(t, s, "no_verify=1&keyfile="+s.keyFile), LogDir: t.TempDir()})
	require.NoError(t, err)
	defer func() { require.NoError(t, b.Close()) }()
	ctx := lifeWithin(t)
	g, err := b.Launch(ctx, lifeSpec(vm.Ephemeral))
	require.NoError(t, err)
	require.NoError(t, g.Connect(ctx))
	released := make(chan error, 1)
	go func() { released <- g.Release() }()
	select {
	case err := <-released:
		require.NoError(t, err)
	case <-time.After(connLimit):
		t.Fatal("its console is still read")
	}
}
