package guest_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"net"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"

	"github.com/maqet/maqet/guest"
)

// sshServer is an ssh server that runs commands on this host, as OpenSSH does in a guest:
// by the shell, each in a process group of its own, and a session lasts as long as its
// program whatever the client does. The Debian test has the real one.
type sshServer struct {
	t       testing.TB
	host    ssh.Signer
	allowed ssh.PublicKey
	config  *ssh.ServerConfig

	shell func(line string) string // changes what a session's shell is given

	mu    sync.Mutex
	conns []net.Conn
	wg    sync.WaitGroup
	users []string // who logged in
}

func newSSHServer(t testing.TB, allowed ssh.PublicKey) *sshServer {
	t.Helper()
	host, err := guest.NewSSHKey()
	require.NoError(t, err)
	s := &sshServer{t: t, host: host, allowed: allowed}
	s.config = &ssh.ServerConfig{PublicKeyCallback: func(c ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.allowed == nil || !bytes.Equal(key.Marshal(), s.allowed.Marshal()) {
			return nil, syscall.EACCES
		}
		s.users = append(s.users, c.User())
		return nil, nil
	}}
	s.config.AddHostKey(host)
	t.Cleanup(s.stop)
	return s
}

func (s *sshServer) allow(key ssh.PublicKey) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.allowed = key
}

// dial is for guest.WithDial.
func (s *sshServer) dial(context.Context, string, string) (net.Conn, error) {
	host, peer := socketpair(s.t)
	s.mu.Lock()
	s.conns = append(s.conns, peer)
	s.mu.Unlock()
	s.wg.Go(func() { s.serve(peer) })
	return host, nil
}

// drop ends all connections, as a guest that is reset does.
func (s *sshServer) drop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.conns {
		_ = c.Close()
	}
	s.conns = nil
}

func (s *sshServer) stop() {
	s.drop()
	s.wg.Wait()
}

func (s *sshServer) serve(conn net.Conn) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	link, channels, requests, err := ssh.NewServerConn(conn, s.config)
	if err != nil {
		_ = conn.Close()
		return
	}
	defer link.Close()
	var sessions sync.WaitGroup
	defer sessions.Wait()
	sessions.Go(func() { ssh.DiscardRequests(requests) })
	for c := range channels {
		if c.ChannelType() != "session" {
			_ = c.Reject(ssh.UnknownChannelType, "only sessions")
			continue
		}
		ch, reqs, err := c.Accept()
		if err == nil {
			sessions.Go(func() { serveSession(ctx, ch, reqs, s.shell) })
		}
	}
	cancel() // the connection has ended, and with it what runs
}

func serveSession(ctx context.Context, ch ssh.Channel, reqs <-chan *ssh.Request, shell func(string) string) {
	var running sync.WaitGroup
	for r := range reqs {
		switch r.Type {
		case "exec":
			var req struct{ Line string }
			_ = ssh.Unmarshal(r.Payload, &req)
			if shell != nil {
				req.Line = shell(req.Line)
			}
			cmd := exec.CommandContext(ctx, "sh", "-c", req.Line)
			cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
			cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
			cmd.Stdout, cmd.Stderr, cmd.WaitDelay = ch, ch.Stderr(), 5*time.Second
			in, _ := cmd.StdinPipe()
			err := cmd.Start()
			_ = r.Reply(err == nil, nil)
			if err != nil { // the connection has ended
				continue
			}
			running.Go(func() { _, _ = io.Copy(in, ch); _ = in.Close() })
			running.Go(func() { finish(ch, cmd) })
		default:
			_ = r.Reply(false, nil)
		}
	}
	running.Wait()
}

// finish tells how the program ended (RFC 4254, 6.10).
func finish(ch ssh.Channel, cmd *exec.Cmd) {
	_ = cmd.Wait()
	status := cmd.ProcessState.Sys().(syscall.WaitStatus)
	if status.Signaled() {
		name := map[syscall.Signal]string{syscall.SIGKILL: "KILL", syscall.SIGTERM: "TERM"}[status.Signal()]
		_, _ = ch.SendRequest("exit-signal", false, ssh.Marshal(struct {
			Name     string
			Core     bool
			Text, In string
		}{Name: name}))
	} else {
		_, _ = ch.SendRequest("exit-status", false, binary.BigEndian.AppendUint32(nil, uint32(status.ExitStatus())))
	}
	_ = ch.Close()
}

// sshTo connects to a server of this host as to the guest of v.
func sshTo(t testing.TB, m *guest.Manager, s *sshServer, opts ...guest.SSHOption) *guest.SSH {
	t.Helper()
	key, err := guest.NewSSHKey()
	require.NoError(t, err)
	s.allow(key.PublicKey())
	in, err := m.SSH(t.Context(), "box", append([]guest.SSHOption{guest.WithDial(s.dial), guest.WithKey(key)}, opts...)...)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, in.Close()) })
	return in
}
