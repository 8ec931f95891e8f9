package libvirt

import (
	"net"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/internal/spelling"
)

// endpoint is a connection URI in parts; see "Connection URIs" in libvirt's documentation.
type endpoint struct {
	driver    string // "qemu" or "test"
	transport transport
	user      string // for SSH; empty: that of this process
	host      string // empty with transportUnix
	port      string // a number
	path      string // "/system", "/session", "/default", or that of the test driver's file
	mode      string // which daemon: "auto", "legacy" (libvirtd), "direct" (virtqemud)
	socket    string // empty: where libvirt's daemon has it
	pkiPath   string // for TLS; empty: libvirt's folders
	noVerify  bool   // TLS: any server; SSH: hosts that are not known yet
	ssh       sshParameters
}

type transport string

const (
	transportUnix transport = "unix"
	transportTCP  transport = "tcp"
	transportTLS  transport = "tls"
	transportSSH  transport = "ssh"
)

// transports has what a URI may say for each transport. libvirt's three kinds of SSH differ in
// the program that speaks it, which here is always this one.
var transports = map[string]transport{
	"unix": transportUnix, "tcp": transportTCP, "tls": transportTLS,
	"ssh": transportSSH, "libssh": transportSSH, "libssh2": transportSSH,
}

// ports are the standard ones.
var ports = map[transport]string{transportTCP: "16509", transportTLS: "16514", transportSSH: "22"}

const (
	examples = "such as qemu:///system, qemu:///session?socket=/path, qemu+ssh://user@host/system or qemu+tls://host/system"
	uriField = "uri"
)

// parseURI takes a URI apart. Errors are an *errors.ConfigError; a password in the URI is in
// none of them.
func parseURI(text string) (*endpoint, error) {
	if text == "" {
		return nil, uriProblem("", "is empty", "give one "+examples)
	}
	u, err := url.Parse(text)
	if err != nil { // its message has parts of the text, any of which can be a password
		if strings.Contains(text, "@") {
			text = ""
		}
		return nil, uriProblem(text, "can't be read as a URI", "give one "+examples)
	}
	shown := u.Redacted()
	if strings.Contains(u.Path, "@") { // most likely the rest of a password with a slash in it
		shown = ""
	}
	fail := func(message, fix string) (*endpoint, error) { return nil, uriProblem(shown, message, fix) }
	if _, secret := u.User.Password(); secret {
		return fail("has a password", "leave it out, and use a key or the SSH agent")
	}
	switch {
	case u.Scheme == "":
		return fail("has no driver", "give one "+examples)
	case u.Opaque != "":
		return fail("has no path", "write "+u.Scheme+":///system")
	case u.Fragment != "" || u.ForceQuery:
		return fail("has an end that means nothing", `leave out "#" and what follows it, and a "?" that nothing follows`)
	}
	e := &endpoint{user: u.User.Username(), host: u.Hostname(), port: u.Port(), path: u.Path, mode: "auto"}
	for _, check := range []func(*url.URL) (message, fix string){e.setScheme, e.checkPath, e.setAddress, e.setParameters} {
		if message, fix := check(u); message != "" {
			return fail(message, fix)
		}
	}
	return e, nil
}

func uriProblem(value, message, fix string) error {
	return &errors.ConfigError{Problems: []errors.Problem{{Field: uriField, Value: value, Message: message, Fix: fix}}}
}

// setScheme takes driver and transport from "driver+transport". Without a transport, a host
// means TLS.
func (e *endpoint) setScheme(u *url.URL) (message, fix string) {
	driver, name, given := strings.Cut(u.Scheme, "+")
	if drivers := []string{"qemu", driverTest}; !slices.Contains(drivers, driver) {
		return "names the driver " + strconv.Quote(driver), meant(driver, drivers)
	}
	e.driver = driver
	if !given {
		e.transport = transportUnix
		if u.Host != "" {
			e.transport = transportTLS
		}
		return "", ""
	}
	t, ok := transports[name]
	if !ok {
		return "names the transport " + strconv.Quote(name), meant(name, keys(transports))
	}
	e.transport = t
	return "", ""
}

// checkPath refuses what no daemon of the driver serves.
func (e *endpoint) checkPath(u *url.URL) (message, fix string) {
	switch {
	case e.driver == driverTest && (e.path == "" || e.path == "/" || path.Clean(e.path) != e.path):
		return "does not say which hosts the test driver is to pretend", "write test:///default, or test:///absolute/path/of/file.xml"
	case e.driver == driverTest, e.path == "/system", e.path == "/session":
		return "", ""
	case (e.path == "" || e.path == "/") && u.Host != "":
		return "names the host " + strconv.Quote(u.Host) + " and no path",
			"write " + u.Scheme + ":///system for this host, or " + u.Scheme + "://HOST/system for another"
	}
	return "has a path that no daemon serves", meant(e.path, []string{"/system", "/session"})
}

// setAddress checks user, host and port against the transport.
func (e *endpoint) setAddress(u *url.URL) (message, fix string) {
	switch {
	case e.transport == transportUnix && u.Host != "":
		return "names a host for a unix socket", "leave the host out, or use qemu+ssh:// or qemu+tls://"
	case e.transport != transportUnix && e.host == "":
		return "names no host", "write " + u.Scheme + "://HOST" + e.path
	case e.user != "" && e.transport != transportSSH:
		return "names a user, whom only SSH has", "leave out the user, or use qemu+ssh://"
	}
	if e.port == "" {
		e.port = ports[e.transport]
		return "", ""
	}
	if n, err := strconv.ParseUint(e.port, 10, 16); err != nil || n == 0 {
		return "has the port " + strconv.Quote(e.port), "ports are 1 to 65535"
	}
	return "", ""
}

// address is what a TCP connection is made to.
func (e *endpoint) address() string { return net.JoinHostPort(e.host, e.port) }

// local reports whether libvirtd is reached through a unix socket of this host.
func (e *endpoint) local() bool { return e.transport == transportUnix }

// driverURI is what libvirtd itself is asked to open: the URI of the driver on its own host.
func (e *endpoint) driverURI() string {
	return e.driver + "://" + (&url.URL{Path: e.path}).EscapedPath()
}

// String names the host in messages: the URI without parameters.
func (e *endpoint) String() string {
	if e.local() {
		return e.driverURI()
	}
	return e.peerURI()
}

// meant says what may be written instead of word.
func meant(word string, known []string) string {
	slices.Sort(known)
	for _, k := range known {
		if spelling.Distance(strings.ToLower(word), k) <= 2 {
			return "did you mean " + k + "?"
		}
	}
	return "known here: " + strings.Join(known, ", ")
}

func keys[V any](m map[string]V) []string {
	var all []string
	for k := range m {
		all = append(all, k)
	}
	return all
}
