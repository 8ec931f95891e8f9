package guest

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/maqet/maqet/errors"
)

// SSHKey is a key by which a user is let into a guest. It is never written to a file: it
// ends with the process.
type SSHKey struct{ ssh.Signer }

// NewSSHKey makes a new ed25519 key.
func NewSSHKey() (SSHKey, error) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return SSHKey{}, errors.Wrap(errors.ErrGuest, "make an ssh key", "", err)
	}
	signer, err := ssh.NewSignerFromKey(private)
	return SSHKey{signer}, errors.Wrap(errors.ErrGuest, "make an ssh key", "", err)
}

// AuthorizedKey returns the line for vm.CloudUser.SSHKeys, and for a guest's
// authorized_keys (sshd(8)), without a line break.
func (k SSHKey) AuthorizedKey() string { return authorizedKey(k.PublicKey()) }

func authorizedKey(key ssh.PublicKey) string {
	return string(bytes.TrimSuffix(ssh.MarshalAuthorizedKey(key), []byte("\n")))
}

// hostKeys is what is known of a server's keys.
type hostKeys struct {
	trusted []ssh.PublicKey // none: the first one is trusted
	seen    ssh.PublicKey
}

// errHostKey says that a server is not the one that was expected.
var errHostKey = errors.New("the server has another host key than it should: something else answers, or the guest was replaced")

// check is an ssh.HostKeyCallback without the address, which is the host's own.
func (h *hostKeys) check(key ssh.PublicKey) error {
	for _, k := range h.trusted {
		if bytes.Equal(k.Marshal(), key.Marshal()) {
			h.seen = key
			return nil
		}
	}
	if len(h.trusted) > 0 {
		return fmt.Errorf("%w (%s)", errHostKey, ssh.FingerprintSHA256(key))
	}
	h.seen = key
	return nil
}

// algorithms are those by which the server can prove that it has a trusted key; nil for
// all. Else it might choose to prove another.
func (h *hostKeys) algorithms() []string {
	var names []string
	for _, k := range h.trusted {
		if k.Type() == ssh.KeyAlgoRSA { // its key proves by these
			names = append(names, ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256)
			continue
		}
		names = append(names, k.Type())
	}
	return names
}

// account is a line of passwd(5).
type account struct{ uid, gid, home string }

func findAccount(passwd []byte, user string) (account, bool) {
	for line := range strings.Lines(string(passwd)) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), ":")
		if len(f) >= 6 && f[0] == user {
			return account{uid: f[2], gid: f[3], home: f[5]}, true
		}
	}
	return account{}, false
}
