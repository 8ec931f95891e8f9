package libvirt

import (
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// sshParameters are those of the SSH transports.
type sshParameters struct {
	keyFile    string   // empty: the usual ones
	knownHosts string   // empty: the usual ones
	hostKeys   string   // "normal", "auto" (those that are not known are taken), "ignore"
	auth       []string // "agent", "privkey", in the order to try
}

// parameter takes one parameter into an endpoint. It returns what is wrong with the value, or "".
type parameter func(e *endpoint, value string) string

// parameters has what the part after "?" may hold.
var parameters = map[transport]map[string]parameter{
	transportUnix: {"socket": setSocket, "mode": setMode},
	transportTCP:  {},
	transportTLS:  {"pkipath": setPKIPath, "no_verify": setNoVerify},
	transportSSH: {
		"socket": setSocket, "mode": setMode, "no_verify": setNoVerify, "keyfile": setKeyFile,
		"known_hosts": setKnownHosts, "knownhosts": setKnownHosts, "known_hosts_verify": setHostKeys,
		"sshauth": setSSHAuth, "no_tty": isFlag,
	},
}

// refused has libvirt's parameters that have no meaning here, with the reason.
var refused = map[string]string{
	"tls_priority": "is GnuTLS's own; Go's TLS has no such setting",
	"command":      "names a program; maqet speaks SSH itself",
	"netcat":       "names a program on the other host; none is needed, as SSH connects to the socket itself",
	"proxy":        "chooses a program on the other host; none is needed, as SSH connects to the socket itself",
	"name":         "is not supported; the path says which driver is opened",
}

func (e *endpoint) setParameters(u *url.URL) (message, fix string) {
	e.ssh = sshParameters{hostKeys: "normal", auth: []string{"agent", "privkey"}}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return "has parameters that can't be read", `write "%25" for a percent sign, and "&" between parameters`
	}
	names := keys(query)
	slices.Sort(names)
	for _, name := range names {
		set, ok := parameters[e.transport][name]
		switch reason := refused[name]; {
		case ok && len(query[name]) > 1:
			return "has the parameter " + strconv.Quote(name) + " more than once", "give it once"
		case ok:
			if message := set(e, query.Get(name)); message != "" {
				return "has a parameter " + name + " that " + message, "see \"Connection URIs\" in libvirt's documentation"
			}
		case reason != "":
			return "has the parameter " + strconv.Quote(name) + ", which " + reason, "leave it out"
		case len(parameters[e.transport]) == 0:
			return "has the parameter " + strconv.Quote(name), "transport " + string(e.transport) + " has none"
		default:
			return "has the parameter " + strconv.Quote(name) + ", which transport " + string(e.transport) + " does not have",
				meant(name, keys(parameters[e.transport]))
		}
	}
	if e.transport == transportSSH && e.path == "/session" && e.socket == "" {
		return "does not say where the session's socket is on the other host", "add ?socket=/run/user/UID/libvirt/libvirt-sock"
	}
	return "", ""
}

func setSocket(e *endpoint, value string) string  { return setPath(&e.socket, value) }
func setPKIPath(e *endpoint, value string) string { return setPath(&e.pkiPath, value) }
func setKeyFile(e *endpoint, value string) string { return setPath(&e.ssh.keyFile, value) }

func setKnownHosts(e *endpoint, value string) string { return setPath(&e.ssh.knownHosts, value) }

func setPath(to *string, value string) string {
	if !filepath.IsAbs(value) || strings.ContainsRune(value, 0) {
		return "is no absolute path"
	}
	*to = value
	return ""
}

func setMode(e *endpoint, value string) string {
	if !slices.Contains([]string{"auto", "direct", "legacy"}, value) {
		return "is neither auto, direct nor legacy"
	}
	e.mode = value
	return ""
}

// setNoVerify reads a flag as libvirt does: any number but 0 is yes.
func setNoVerify(e *endpoint, value string) string {
	n, err := strconv.Atoi(value)
	e.noVerify = n != 0
	if err != nil {
		return "is neither 0 nor 1"
	}
	return ""
}

// isFlag takes parameters that change nothing here.
func isFlag(_ *endpoint, value string) string { return setNoVerify(&endpoint{}, value) }

func setHostKeys(e *endpoint, value string) string {
	if !slices.Contains([]string{"normal", "auto", "ignore"}, value) {
		return "is neither normal, auto nor ignore"
	}
	e.ssh.hostKeys = value
	return ""
}

func setSSHAuth(e *endpoint, value string) string {
	e.ssh.auth = strings.Split(value, ",")
	for _, way := range e.ssh.auth {
		switch way {
		case "agent", "privkey":
		case "password", "keyboard-interactive":
			return "has " + way + ", but there is nobody to ask"
		default:
			return "is not made of agent and privkey, with a comma between them"
		}
	}
	return ""
}

// sockets returns the paths where the daemon may listen, the likeliest first. libvirtd's name
// is also that of virtproxyd, which passes everything on where each driver has a daemon of its
// own; virtqemud knows nothing of storage pools.
func (e *endpoint) sockets() []string {
	if e.socket != "" {
		return []string{e.socket}
	}
	names := []string{"libvirt-sock", "virtqemud-sock"}
	switch e.mode {
	case "legacy":
		names = names[:1]
	case "direct":
		names = names[1:]
	}
	folders := []string{"/var/run/libvirt"}
	switch {
	case e.path == "/session":
		folders = []string{userFolder()}
	case e.driver == driverTest && e.local() && os.Geteuid() != 0: // any daemon has the test driver
		folders = []string{userFolder(), "/var/run/libvirt"}
	}
	var all []string
	for _, folder := range folders {
		for _, name := range names {
			all = append(all, filepath.Join(folder, name))
		}
	}
	return all
}

// userFolder is where the daemons of a user's session have their sockets: in the XDG runtime
// folder or, without one, the cache folder (GLib's g_get_user_runtime_dir).
func userFolder() string {
	dir := os.Getenv("XDG_RUNTIME_DIR")
	if dir == "" {
		dir, _ = os.UserCacheDir() // without a home it is in no place that exists
	}
	return filepath.Join(dir, "libvirt")
}
