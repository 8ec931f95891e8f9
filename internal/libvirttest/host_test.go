//go:build linux

package libvirttest

import (
	"net"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/digitalocean/go-libvirt"
	"github.com/digitalocean/go-libvirt/socket"
	"github.com/digitalocean/go-libvirt/socket/dialers"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/maqet/maqet/internal/proc"
)

// hostName asks the libvirt at the other end for it.
func hostName(t *testing.T, d socket.Dialer) string {
	t.Helper()
	l := libvirt.NewWithDialer(d)
	require.NoError(t, l.ConnectToURI(libvirt.QEMUSystem))
	name, err := l.ConnectGetHostname()
	require.NoError(t, err)
	require.NoError(t, l.Disconnect())
	return name
}

func TestHosts(t *testing.T) {
	all := StartHosts(t, 2)
	require.NotEqual(t, all[0].Address(), all[1].Address())
	mine, err := os.Hostname()
	require.NoError(t, err)
	for _, h := range all {
		require.NotEqual(t, mine, h.Name())
		require.Equal(t, h.Name(), hostName(t, dialers.NewRemote(h.Address())))
	}
	startGuest(t, all[0].Daemon, "of-a")
	require.Len(t, domains(t, all[0].Daemon), 1)
	require.Empty(t, domains(t, all[1].Daemon))
	t.Run("libvirt's own client", func(t *testing.T) { askVirsh(t, all[0]) })
	t.Run("SSH", func(t *testing.T) { comeBySSH(t, all[0]) })
	t.Run("vanishes", func(t *testing.T) { vanish(t, all[0]) })
	t.Run("without power", func(t *testing.T) {
		qemu := all[0].Process(t, "of-a")
		all[0].PowerOff(t)
		require.NoError(t, qemu.Wait(within(t, 30*time.Second)))
		require.False(t, proc.Alive(qemu.ID()))
		require.NoError(t, all[0].Stop())
		require.NoDirExists(t, string(all[0].tree))
		require.Equal(t, all[1].Name(), hostName(t, dialers.NewRemote(all[1].Address())))
	})
}

// askVirsh uses TCP and TLS as libvirt's own library does; it checks the certificates.
func askVirsh(t *testing.T, h *Host) {
	if _, err := exec.LookPath("virsh"); err != nil {
		check(t, missing("virsh is missing: "+installHint))
	}
	for _, transport := range []string{TCP, TLS} {
		out, err := exec.Command("virsh", "-c", h.RemoteURI(t, transport), "hostname").CombinedOutput()
		require.NoError(t, err, "%s: %s", transport, out)
		require.Equal(t, h.Name(), strings.TrimSpace(string(out)))
	}
}

// overSSH dials libvirt's socket on the other side of an SSH connection.
type overSSH struct {
	client *ssh.Client
}

func (o overSSH) Dial() (net.Conn, error) { return o.client.Dial("unix", "/run/libvirt/libvirt-sock") }

func comeBySSH(t *testing.T, h *Host) {
	u, err := url.Parse(h.RemoteURI(t, SSH))
	require.NoError(t, err)
	key, err := os.ReadFile(u.Query().Get("keyfile"))
	require.NoError(t, err)
	signer, err := ssh.ParsePrivateKey(key)
	require.NoError(t, err)
	known, err := knownhosts.New(u.Query().Get("known_hosts"))
	require.NoError(t, err)
	client, err := ssh.Dial("tcp", u.Host+":22", &ssh.ClientConfig{User: u.User.Username(),
		Auth: []ssh.AuthMethod{ssh.PublicKeys(signer)}, HostKeyCallback: known})
	require.NoError(t, err)
	defer client.Close()
	require.Equal(t, h.Name(), hostName(t, overSSH{client}))
}

// vanish: a connection neither ends nor answers, no new one is made, and it goes on as soon as
// the host is back.
func vanish(t *testing.T, h *Host) {
	l := libvirt.NewWithDialer(dialers.NewRemote(h.Address()))
	require.NoError(t, l.ConnectToURI(libvirt.QEMUSystem))
	h.Vanish(t)
	answered := make(chan error, 1)
	go func() {
		_, err := l.ConnectGetHostname()
		answered <- err
	}()
	_, err := net.DialTimeout("tcp", h.Address()+":16509", 300*time.Millisecond)
	require.Error(t, err)
	select {
	case err := <-answered:
		t.Fatal("it answered: ", err)
	case <-l.Disconnected():
		t.Fatal("the connection ended")
	default:
	}
	h.Return(t)
	require.NoError(t, <-answered)
	require.NoError(t, l.Disconnect())
}
