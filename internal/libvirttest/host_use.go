//go:build linux

package libvirttest

import (
	"net/url"
	"testing"
)

// Name returns the host's name, by which the other hosts know it, too.
func (h *Host) Name() string { return h.name }

// Address returns its IP address, which also the test reaches it by.
func (h *Host) Address() string { return h.address }

// RemoteURI returns the address of its libvirt for a remote client: TLS, with the certificates
// that it has to have, TCP, or SSH, with the key. Without sshd it skips or fails tb.
func (h *Host) RemoteURI(tb testing.TB, transport string) string {
	tb.Helper()
	u := url.URL{Scheme: "qemu+" + transport, Host: h.address, Path: "/system"}
	switch transport {
	case TLS:
		u.RawQuery = url.Values{"pkipath": {string(h.tree) + "/pki"}}.Encode()
	case SSH:
		if h.sshd == "" {
			check(tb, missing("sshd is missing: run scripts/setup.sh --test"))
		}
		dir := string(h.tree) + "/ssh"
		u.User = url.User("root")
		u.RawQuery = url.Values{"keyfile": {dir + "/id"}, "known_hosts": {dir + "/known_hosts"}}.Encode()
	}
	return u.String()
}

// Vanish pulls the host's cable: it runs on, and nothing it says, or is told, arrives.
func (h *Host) Vanish(tb testing.TB) {
	tb.Helper()
	check(tb, ip([]string{"link", "set", "dev", h.link, "down"}))
}

// Return is the opposite of Vanish.
func (h *Host) Return(tb testing.TB) {
	tb.Helper()
	check(tb, ip([]string{"link", "set", "dev", h.link, "up"}))
}

// PowerOff takes the host's power away, for good: nobody is told.
func (h *Host) PowerOff(tb testing.TB) {
	tb.Helper()
	h.Vanish(tb)
	check(tb, h.cmd.Process.Kill())
	<-h.done
}
