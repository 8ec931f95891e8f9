package libvirt

import (
	"context"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"github.com/maqet/maqet/errors"
)

// sshKeys finds the keys that this client may prove itself by, for one login.
type sshKeys struct {
	ssh   sshParameters
	asked bool    // the server has shown who it is, and asks who this is
	found int     // how many there were
	errs  []error // why there were no more

	agent net.Conn    // which signs until close
	quiet func() bool // ends that ctx ends it
}

// signers has the keys of the SSH agent and those of files, in the order that the URI asks for.
func (k *sshKeys) signers(ctx context.Context) ([]ssh.Signer, error) {
	k.asked = true
	var all []ssh.Signer
	for _, way := range k.ssh.auth {
		more := k.fromFiles
		if way == "agent" {
			more = k.fromAgent
		}
		signers, err := more(ctx)
		all = append(all, signers...)
		if err != nil {
			k.errs = append(k.errs, err)
		}
	}
	k.found = len(all)
	return all, nil
}

func (k *sshKeys) fromAgent(ctx context.Context) ([]ssh.Signer, error) {
	socket := os.Getenv("SSH_AUTH_SOCK")
	if socket == "" || k.agent != nil {
		return nil, nil
	}
	var n net.Dialer
	c, err := n.DialContext(ctx, "unix", socket)
	if err != nil {
		return nil, fmt.Errorf("SSH agent: %w", err)
	}
	k.agent, k.quiet = c, context.AfterFunc(ctx, func() { _ = c.Close() })
	signers, err := agent.NewClient(c).Signers()
	if err != nil {
		return nil, fmt.Errorf("SSH agent: %w", err)
	}
	return signers, nil
}

// fromFiles reads the key that the URI names or, without one, those in ~/.ssh that OpenSSH
// reads too.
func (k *sshKeys) fromFiles(context.Context) ([]ssh.Signer, error) {
	paths := []string{k.ssh.keyFile}
	if k.ssh.keyFile == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return nil, err
		}
		paths = nil
		for _, name := range []string{"id_ed25519", "id_ecdsa", "id_rsa"} {
			paths = append(paths, filepath.Join(home, ".ssh", name))
		}
	}
	var signers []ssh.Signer
	var errs []error
	for _, path := range paths {
		signer, err := readKey(path)
		switch {
		case err == nil:
			signers = append(signers, signer)
		case k.ssh.keyFile != "" || !errors.Is(err, fs.ErrNotExist):
			errs = append(errs, err)
		}
	}
	return signers, errors.Join(errs...)
}

func readKey(path string) (ssh.Signer, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("SSH key: %w", err)
	}
	signer, err := ssh.ParsePrivateKey(text)
	var locked *ssh.PassphraseMissingError
	switch {
	case errors.As(err, &locked):
		return nil, fmt.Errorf("SSH key %s has a passphrase, which nobody can be asked for: add it to the SSH agent", path)
	case err != nil:
		return nil, fmt.Errorf("SSH key %s: %w", path, err)
	}
	return signer, nil
}

// refused makes the error of a login that failed.
func (k *sshKeys) refused(user string, err error) error {
	return &sshLoginError{user: user, keys: k.found, err: errors.Join(append([]error{err}, k.errs...)...)}
}

// sshLoginError is a login that the other host refused.
type sshLoginError struct {
	user string
	keys int
	err  error
}

func (e *sshLoginError) Error() string {
	return fmt.Sprintf("SSH login as %q with %d keys: %v", e.user, e.keys, e.err)
}

func (e *sshLoginError) Unwrap() error { return e.err }

func (k *sshKeys) close() {
	if k.agent != nil {
		k.quiet()
		_ = k.agent.Close()
	}
}
