package libvirt

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
)

// connAuthority makes certificates.
type connAuthority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newConnAuthority(t *testing.T) *connAuthority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	a := &connAuthority{t: t, key: key, cert: connTemplate("authority")}
	a.cert.IsCA, a.cert.BasicConstraintsValid = true, true
	a.cert.KeyUsage = x509.KeyUsageCertSign
	der, err := x509.CreateCertificate(rand.Reader, a.cert, a.cert, key.Public(), key)
	require.NoError(t, err)
	a.cert, err = x509.ParseCertificate(der)
	require.NoError(t, err)
	return a
}

func connTemplate(name string) *x509.Certificate {
	return &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
}

// issue returns a certificate, with the address if it is one of a server, in PEM.
func (a *connAuthority) issue(name, address string) (cert, key []byte) {
	a.t.Helper()
	template := connTemplate(name)
	if address != "" {
		template.IPAddresses = []net.IP{net.ParseIP(address)}
	}
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(a.t, err)
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, private.Public(), a.key)
	require.NoError(a.t, err)
	raw, err := x509.MarshalPKCS8PrivateKey(private)
	require.NoError(a.t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw})
}

// folder makes what ?pkipath= names.
func (a *connAuthority) folder(trusted *connAuthority) string {
	a.t.Helper()
	dir := a.t.TempDir()
	cert, key := a.issue("client", "")
	for name, text := range map[string][]byte{
		"cacert.pem":     pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: trusted.cert.Raw}),
		"clientcert.pem": cert, "clientkey.pem": key,
	} {
		require.NoError(a.t, os.WriteFile(filepath.Join(dir, name), text, 0o600))
	}
	return dir
}

// connTLS serves a unix socket over TLS as libvirtd does: after the handshake it sends a byte
// that says whether it accepts the client. It returns the port.
func connTLS(t *testing.T, a *connAuthority, address, socket string, verdict byte) string {
	t.Helper()
	cert, key := a.issue("server", address)
	pair, err := tls.X509KeyPair(cert, key)
	require.NoError(t, err)
	clients := x509.NewCertPool()
	clients.AddCert(a.cert)
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{pair},
		ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: clients})
	require.NoError(t, err)
	var work sync.WaitGroup
	t.Cleanup(func() { _ = l.Close(); work.Wait() })
	work.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			work.Go(func() {
				defer c.Close()
				if _, err := c.Write([]byte{verdict}); err == nil {
					connJoin(c, socket)
				}
			})
		}
	})
	_, port, err := net.SplitHostPort(l.Addr().String())
	require.NoError(t, err)
	return port
}

// connJoin copies between a connection and a unix socket until either ends.
func connJoin(c io.ReadWriteCloser, socket string) {
	server, err := net.Dial("unix", socket)
	if err != nil {
		return
	}
	var work sync.WaitGroup
	work.Go(func() {
		_, _ = io.Copy(server, c)
		_ = server.Close()
	})
	_, _ = io.Copy(c, server)
	_ = c.Close()
	_ = server.Close()
	work.Wait()
}

func TestTLS(t *testing.T) {
	d := daemon.Get(t)
	a, other := newConnAuthority(t), newConnAuthority(t)
	port := connTLS(t, a, "127.0.0.1", d.Socket(), 1)
	path := string(d.Driver())[len("qemu://"):]
	call := func(port, query string) error {
		h := connHostOf(t, Options{URI: "qemu+tls://127.0.0.1:" + port + path + "?" + query})
		require.False(t, h.local())
		return h.call(t.Context(), "ask", "", connVersion)
	}
	good := "pkipath=" + a.folder(a)
	require.NoError(t, call(port, good))

	err := call(port, "pkipath="+t.TempDir())
	require.ErrorIs(t, err, errors.ErrLibvirtConnection)
	require.ErrorContains(t, err, "cacert.pem")

	err = call(port, "pkipath="+a.folder(other))
	require.ErrorIs(t, err, errors.ErrLibvirtConnection, "a server of another authority")
	require.ErrorContains(t, err, "of another authority")
	require.NoError(t, call(port, "no_verify=1&pkipath="+a.folder(other)))

	err = call(port, "pkipath="+other.folder(a))
	require.ErrorIs(t, err, errors.ErrLibvirtConnection, "a client of another authority")
	require.ErrorContains(t, err, "does not accept this client's certificate")

	err = call(connTLS(t, a, "127.0.0.2", d.Socket(), 1), good)
	require.ErrorIs(t, err, errors.ErrLibvirtConnection, "a server of another name")
	require.ErrorContains(t, err, "subject alternative name")

	err = call(connTLS(t, a, "127.0.0.1", d.Socket(), 0), good)
	require.ErrorIs(t, err, errors.ErrLibvirtConnection, "a server that says no")
	require.ErrorContains(t, err, "tls_allowed_dn_list")
}

// A server that says nothing is given up with the context.
func TestTLSGivesUpWithItsContext(t *testing.T) {
	a := newConnAuthority(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	h := connHostOf(t, Options{URI: "qemu+tls://" + l.Addr().String() + "/system?pkipath=" + a.folder(a)})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err = h.dial(ctx)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorIs(t, err, errors.ErrLibvirtConnection)
}

// Without pkipath certificates are where libvirt's client looks for them.
func TestTLSFolders(t *testing.T) {
	t.Setenv("HOME", "/home/me")
	e, err := parseURI("qemu+tls://host/system")
	require.NoError(t, err)
	d := newTLSDialer(e)
	last := d.files[len(d.files)-1]
	require.Equal(t, tlsFiles{"/etc/pki/CA/cacert.pem", "/etc/pki/libvirt/clientcert.pem", "/etc/pki/libvirt/private/clientkey.pem"}, last)
	if os.Geteuid() != 0 {
		require.Equal(t, "/home/me/.pki/libvirt/clientkey.pem", d.files[0].key)
	}
}

func TestTCP(t *testing.T) {
	d := daemon.Get(t)
	relay := newConnRelay(t, "tcp", d.Socket())
	path := string(d.Driver())[len("qemu://"):]
	h := connHostOf(t, Options{URI: "qemu+tcp://" + relay.listener.Addr().String() + path})
	require.NoError(t, h.call(t.Context(), "ask", "", connVersion))

	require.NoError(t, relay.listener.Close())
	relay.cut()
	err := h.call(t.Context(), "ask", "", connVersion)
	if err != nil && !errors.Is(err, errors.ErrLibvirtConnection) {
		require.NoError(t, err)
	}
	err = h.call(t.Context(), "ask", "", connVersion)
	require.ErrorIs(t, err, errors.ErrLibvirtConnection)
	require.ErrorContains(t, err, "libvirtd-tcp.socket")
}

// What answers on a port need not be libvirtd: go-libvirt would panic, or reserve gigabytes.
func TestNotLibvirt(t *testing.T) {
	for name, greeting := range map[string]string{"SSH": "SSH-2.0-OpenSSH_9.2\r\n", "zeros": "\x00\x00\x00\x00\x00\x00\x00\x00", "nothing": ""} {
		t.Run(name, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			var work sync.WaitGroup
			work.Go(func() {
				c, err := l.Accept()
				if err == nil {
					_, _ = io.WriteString(c, greeting)
					_ = c.Close()
				}
			})
			defer work.Wait()
			defer l.Close()
			h := connHostOf(t, Options{URI: "qemu+tcp://" + l.Addr().String() + "/system"})
			err = h.call(t.Context(), "ask", "", connVersion)
			require.ErrorIs(t, err, errors.ErrLibvirtConnection)
			if greeting != "" {
				require.ErrorContains(t, err, "does not speak libvirt's protocol")
			}
		})
	}
}
