package libvirt

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/maqet/maqet/errors"
)

// tlsDialer reads the certificates anew for each connection: they expire and are replaced while
// programs run.
type tlsDialer struct {
	address, host string
	noVerify      bool
	files         []tlsFiles // where to look, in that order
	strict        bool       // all files must be in the one place
}

// tlsFiles are the paths of certificates; see "TLS certificates" in libvirt's documentation.
type tlsFiles struct{ ca, cert, key string }

func newTLSDialer(e *endpoint) *tlsDialer {
	d := &tlsDialer{address: e.address(), host: e.host, noVerify: e.noVerify}
	oneFolder := func(dir string) tlsFiles {
		return tlsFiles{filepath.Join(dir, "cacert.pem"), filepath.Join(dir, "clientcert.pem"), filepath.Join(dir, "clientkey.pem")}
	}
	if e.pkiPath != "" {
		d.files, d.strict = []tlsFiles{oneFolder(e.pkiPath)}, true
		return d
	}
	if home, err := os.UserHomeDir(); err == nil && os.Geteuid() != 0 {
		d.files = append(d.files, oneFolder(filepath.Join(home, ".pki/libvirt")))
	}
	d.files = append(d.files, tlsFiles{"/etc/pki/CA/cacert.pem", "/etc/pki/libvirt/clientcert.pem", "/etc/pki/libvirt/private/clientkey.pem"})
	return d
}

func (d *tlsDialer) dial(ctx context.Context) (net.Conn, error) {
	config, err := d.config()
	if err != nil {
		return nil, err
	}
	var n net.Dialer
	raw, err := n.DialContext(ctx, "tcp", d.address)
	if err != nil {
		return nil, err
	}
	c := &tlsConn{Conn: tls.Client(raw, config), raw: raw}
	if err := c.greet(ctx); err != nil {
		_ = c.Close() // the error says more
		return nil, err
	}
	return c, nil
}

func (*tlsDialer) close() {}

// config finds the certificates. Where the usual folders have none for the client, it has
// none: the server may not ask for one.
func (d *tlsDialer) config() (*tls.Config, error) {
	config := &tls.Config{ServerName: d.host, InsecureSkipVerify: d.noVerify, MinVersion: tls.VersionTLS12}
	for _, f := range d.files {
		authority, err := os.ReadFile(f.ca)
		if err == nil {
			config.RootCAs = x509.NewCertPool()
			if !config.RootCAs.AppendCertsFromPEM(authority) {
				return nil, &tlsFileError{f.ca, errors.New("has no certificate")}
			}
			break
		}
		if d.strict || !errors.Is(err, fs.ErrNotExist) {
			return nil, &tlsFileError{f.ca, err}
		}
	}
	if config.RootCAs == nil && !d.noVerify {
		return nil, &tlsFileError{d.files[len(d.files)-1].ca, fs.ErrNotExist}
	}
	for _, f := range d.files {
		pair, err := tls.LoadX509KeyPair(f.cert, f.key)
		if err == nil {
			config.Certificates = []tls.Certificate{pair}
			break
		}
		if d.strict || !errors.Is(err, fs.ErrNotExist) {
			return nil, &tlsFileError{f.cert, err}
		}
	}
	return config, nil
}

// tlsFileError is a certificate that can't be used.
type tlsFileError struct {
	path string
	err  error
}

func (e *tlsFileError) Error() string { return fmt.Sprintf("TLS certificate %s: %v", e.path, e.err) }

func (e *tlsFileError) Unwrap() error { return e.err }

// errUnwelcome: libvirtd has said that it does not serve the holder of this certificate.
var errUnwelcome = errors.New("libvirtd does not accept this client's certificate")

// tlsConn is a TLS connection that closes at once.
type tlsConn struct {
	*tls.Conn
	raw net.Conn
}

// greet does the handshake, and waits for the byte by which libvirtd tells that it has checked
// the client's certificate and address as well.
func (c *tlsConn) greet(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { _ = c.raw.Close() })
	defer stop()
	verdict := make([]byte, 1)
	err := c.HandshakeContext(ctx)
	if err == nil {
		_, err = c.Read(verdict)
	}
	// In TLS 1.3 the server's opinion comes after the handshake.
	if alert := (*net.OpError)(nil); errors.As(err, &alert) && alert.Op == "remote error" { // crypto/tls's name for an alert
		err = fmt.Errorf("%w: %w", errUnwelcome, err)
	}
	switch {
	case ctx.Err() != nil:
		return ended(ctx)
	case err == nil && verdict[0] != 1:
		return errUnwelcome
	}
	return err
}

// Close says goodbye, if the network takes it: crypto/tls would try for five seconds.
func (c *tlsConn) Close() error {
	impatient := time.AfterFunc(politeness, func() { _ = c.raw.Close() })
	defer impatient.Stop()
	return c.Conn.Close()
}
