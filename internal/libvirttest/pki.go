//go:build linux

package libvirttest

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/crypto/ssh"
)

// authority signs the certificates of hosts and their clients.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority() (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := certificate("maqet test CA")
	template.IsCA, template.BasicConstraintsValid, template.KeyUsage = true, true, x509.KeyUsageCertSign
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	return &authority{cert, key}, err
}

func certificate(name string) *x509.Certificate {
	serial, _ := rand.Int(rand.Reader, big.NewInt(1<<62)) // never fails (crypto/rand, Read)
	return &x509.Certificate{SerialNumber: serial, Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour)}
}

// issue writes a certificate and its key, as NAMEcert.pem and NAMEkey.pem in dir.
func (a *authority) issue(dir, name string, template *x509.Certificate) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template.KeyUsage = x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment // GnuTLS insists
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		return err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	return errors.Join(writePEM(filepath.Join(dir, name+"cert.pem"), "CERTIFICATE", der),
		writePEM(filepath.Join(dir, name+"key.pem"), "PRIVATE KEY", secret))
}

// furnish writes what libvirt looks for in a pkipath (libvirt's "Connection URIs"), and the
// certificate of a host.
func (a *authority) furnish(dir, host, address string) error {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	server := certificate(host)
	server.DNSNames, server.IPAddresses = []string{host}, []net.IP{net.ParseIP(address)}
	server.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	client := certificate("maqet test")
	client.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	return errors.Join(writePEM(filepath.Join(dir, "cacert.pem"), "CERTIFICATE", a.cert.Raw),
		a.issue(dir, "server", server), a.issue(dir, "client", client))
}

func writePEM(path, kind string, der []byte) error {
	return os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
}

// writeSSHKeys writes the keys of an SSH server and a client that it lets in: host_key, id and
// authorized_keys, and known_hosts for the client.
func writeSSHKeys(dir, address string) error {
	host, err := writeSSHKey(filepath.Join(dir, "host_key"))
	if err != nil {
		return err
	}
	client, err := writeSSHKey(filepath.Join(dir, "id"))
	if err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(filepath.Join(dir, "authorized_keys"), ssh.MarshalAuthorizedKey(client), 0o600),
		os.WriteFile(filepath.Join(dir, "known_hosts"), append([]byte(address+" "), ssh.MarshalAuthorizedKey(host)...), 0o600))
}

func writeSSHKey(path string) (ssh.PublicKey, error) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
		return nil, err
	}
	return ssh.NewPublicKey(public)
}
