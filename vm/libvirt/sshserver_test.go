package libvirt

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// connSSHD is an SSH server that connects to unix sockets, as OpenSSH's does.
type connSSHD struct {
	t        *testing.T
	listener net.Listener
	config   *ssh.ServerConfig
	host     ssh.Signer
	client   ssh.PublicKey // which is let in
	keyFile  string        // with its private half
	work     sync.WaitGroup

	mu     sync.Mutex
	logins []string
	conns  []net.Conn
	sealed bool // channels are not answered
}

func newConnSSHD(t *testing.T) *connSSHD {
	t.Helper()
	s := &connSSHD{t: t, host: connKey(t)}
	s.keyFile, s.client = s.newKey("id")
	s.config = &ssh.ServerConfig{PublicKeyCallback: s.login}
	s.config.AddHostKey(connECDSAKey(t)) // its favourite, which nobody knows
	s.config.AddHostKey(s.host)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s.listener = l
	s.work.Go(s.accept)
	t.Cleanup(func() { _ = l.Close(); s.cut(); s.work.Wait() })
	return s
}

func connKey(t *testing.T) ssh.Signer {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	signer, err := ssh.NewSignerFromKey(key)
	require.NoError(t, err)
	return signer
}

func connECDSAKey(t *testing.T) ssh.Signer {
	t.Helper()
	signer, err := ssh.NewSignerFromKey(newConnAuthority(t).key)
	require.NoError(t, err)
	return signer
}

// newKey writes a private key, and returns its public half.
func (s *connSSHD) newKey(name string) (path string, public ssh.PublicKey) {
	s.t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(s.t, err)
	block, err := ssh.MarshalPrivateKey(key, "")
	require.NoError(s.t, err)
	path = s.write(name, block)
	signer, err := ssh.NewSignerFromKey(key)
	require.NoError(s.t, err)
	return path, signer.PublicKey()
}

func (s *connSSHD) write(name string, block *pem.Block) string {
	s.t.Helper()
	path := filepath.Join(s.t.TempDir(), name)
	require.NoError(s.t, os.WriteFile(path, pem.EncodeToMemory(block), 0o600))
	return path
}

// lockedKey writes what looks like a key with a passphrase.
func (s *connSSHD) lockedKey() string {
	s.t.Helper()
	return s.write("locked", &pem.Block{Type: "RSA PRIVATE KEY", Bytes: []byte("secret"),
		Headers: map[string]string{"Proc-Type": "4,ENCRYPTED", "DEK-Info": "AES-128-CBC,00112233445566778899AABBCCDDEEFF"}})
}

// knownHosts writes a file in which the server is known by a key.
func (s *connSSHD) knownHosts(key ssh.PublicKey) string {
	s.t.Helper()
	path := filepath.Join(s.t.TempDir(), "known_hosts")
	line := knownhosts.Line([]string{s.listener.Addr().String()}, key)
	require.NoError(s.t, os.WriteFile(path, []byte(line+"\n"), 0o600))
	return path
}

func (s *connSSHD) login(c ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !bytes.Equal(key.Marshal(), s.client.Marshal()) {
		return nil, os.ErrPermission
	}
	s.logins = append(s.logins, c.User())
	return nil, nil
}

func (s *connSSHD) accept() {
	for {
		c, err := s.listener.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		s.conns = append(s.conns, c)
		s.mu.Unlock()
		s.work.Go(func() { s.serve(c) })
	}
}

func (s *connSSHD) serve(c net.Conn) {
	defer c.Close()
	_, channels, requests, err := ssh.NewServerConn(c, s.config)
	if err != nil {
		return
	}
	s.work.Go(func() { ssh.DiscardRequests(requests) })
	for channel := range channels {
		s.mu.Lock()
		sealed := s.sealed
		s.mu.Unlock()
		if !sealed {
			s.work.Go(func() { s.connect(channel) })
		}
	}
}

// connect serves "direct-streamlocal@openssh.com" (OpenSSH's PROTOCOL, section 2.4).
func (s *connSSHD) connect(channel ssh.NewChannel) {
	var to struct {
		Path     string
		Reserved string
		Port     uint32
	}
	if err := ssh.Unmarshal(channel.ExtraData(), &to); err != nil {
		_ = channel.Reject(ssh.UnknownChannelType, "")
		return
	}
	if c, err := net.Dial("unix", to.Path); err != nil {
		_ = channel.Reject(ssh.ConnectionFailed, "open failed")
		return
	} else {
		_ = c.Close()
	}
	c, requests, err := channel.Accept()
	if err != nil {
		return
	}
	s.work.Go(func() { ssh.DiscardRequests(requests) })
	connJoin(c, to.Path)
}

// cut ends all SSH connections.
func (s *connSSHD) cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.conns {
		_ = c.Close()
	}
}

// seal has no channel be answered, by a server that otherwise lives.
func (s *connSSHD) seal(sealed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sealed = sealed
}

func (s *connSSHD) loggedIn() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.logins...)
}
