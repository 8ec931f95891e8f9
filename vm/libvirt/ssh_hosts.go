package libvirt

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/maqet/maqet/errors"
)

// hostKeys checks that a host is the one that it was before, for one login.
type hostKeys struct {
	known      ssh.HostKeyCallback
	ignore     bool     // any key will do
	accept     bool     // any key will do for a host that is not known
	algorithms []string // kinds of keys that are known of the host; nil: any
	err        error    // why the key was refused
}

func newHostKeys(e *endpoint, address string) (*hostKeys, error) {
	h := &hostKeys{ignore: e.ssh.hostKeys == "ignore", accept: e.noVerify || e.ssh.hostKeys == "auto"}
	if h.ignore {
		return h, nil
	}
	files := []string{e.ssh.knownHosts}
	if e.ssh.knownHosts == "" {
		files = knownHostsFiles()
	}
	known, err := knownhosts.New(files...)
	if err != nil {
		return nil, fmt.Errorf("known SSH hosts: %w", err)
	}
	h.known = known
	h.algorithms = knownAlgorithms(known, address)
	return h, nil
}

// knownHostsFiles returns those of OpenSSH and of libvirt that exist.
func knownHostsFiles() []string {
	files := []string{"/etc/ssh/ssh_known_hosts"}
	if home, err := os.UserHomeDir(); err == nil {
		files = append(files, filepath.Join(home, ".ssh/known_hosts"))
	}
	if config, err := os.UserConfigDir(); err == nil {
		files = append(files, filepath.Join(config, "libvirt/known_hosts"))
	}
	return slices.DeleteFunc(files, func(path string) bool {
		_, err := os.Stat(path)
		return err != nil
	})
}

// knownAlgorithms makes the server show a key of a kind that is known, when it has several: it
// would show its favourite, and that would look like a changed one. Which are known is in the
// error for a key that none is like.
func knownAlgorithms(known ssh.HostKeyCallback, address string) []string {
	var other *knownhosts.KeyError
	if !errors.As(known(address, &net.TCPAddr{}, noKey{}), &other) {
		return nil
	}
	var all []string
	for _, k := range other.Want {
		if k.Key.Type() == ssh.KeyAlgoRSA { // what a key of that kind signs with
			all = append(all, ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256)
		} else {
			all = append(all, k.Key.Type())
		}
	}
	return all
}

// noKey is the key of no host.
type noKey struct{}

func (noKey) Type() string                        { return "none" }
func (noKey) Marshal() []byte                     { return []byte("none") }
func (noKey) Verify([]byte, *ssh.Signature) error { return errors.New("no key") }

// check implements ssh.HostKeyCallback.
func (h *hostKeys) check(address string, remote net.Addr, key ssh.PublicKey) error {
	if h.ignore {
		return nil
	}
	err := h.known(address, remote, key)
	var unknown *knownhosts.KeyError
	if h.accept && errors.As(err, &unknown) && len(unknown.Want) == 0 {
		return nil
	}
	if err != nil {
		err = &hostKeyError{fingerprint: ssh.FingerprintSHA256(key), err: err}
	}
	h.err = err
	return err
}

// hostKeyError is a host that does not prove who it is.
type hostKeyError struct {
	fingerprint string
	err         error
}

func (e *hostKeyError) Error() string {
	return fmt.Sprintf("SSH host key %s: %v", e.fingerprint, e.err)
}

func (e *hostKeyError) Unwrap() error { return e.err }

// changed reports whether other keys are known of the host.
func (e *hostKeyError) changed() bool {
	var unknown *knownhosts.KeyError
	return !errors.As(e.err, &unknown) || len(unknown.Want) > 0
}
