package libvirt

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
)

func TestURI(t *testing.T) {
	t.Setenv("XDG_RUNTIME_DIR", "/run/user/7")
	for uri, want := range map[string]struct {
		driver, address, host string
		transport             transport
		sockets               []string
	}{
		"qemu:///system": {"qemu:///system", "", "qemu:///system", transportUnix,
			[]string{"/var/run/libvirt/libvirt-sock", "/var/run/libvirt/virtqemud-sock"}},
		"qemu:///session": {"qemu:///session", "", "qemu:///session", transportUnix,
			[]string{"/run/user/7/libvirt/libvirt-sock", "/run/user/7/libvirt/virtqemud-sock"}},
		"qemu:///session?mode=direct": {"qemu:///session", "", "qemu:///session", transportUnix,
			[]string{"/run/user/7/libvirt/virtqemud-sock"}},
		"qemu+unix:///system?socket=/run/a%20b": {"qemu:///system", "", "qemu:///system", transportUnix, []string{"/run/a b"}},
		"qemu+tcp://host/system":                {"qemu:///system", "host:16509", "qemu+tcp://host:16509/system", transportTCP, nil},
		"qemu+tcp://[::1]:5/system":             {"qemu:///system", "[::1]:5", "qemu+tcp://[::1]:5/system", transportTCP, nil},
		"qemu://host/system":                    {"qemu:///system", "host:16514", "qemu+tls://host:16514/system", transportTLS, nil},
		"qemu+tls://host/session?no_verify=1&pkipath=/pki": {"qemu:///session", "host:16514", "qemu+tls://host:16514/session",
			transportTLS, nil},
		"qemu+ssh://me@host:2222/system?keyfile=/key&known_hosts=/known&sshauth=privkey,agent&socket=/s&no_tty=1": {"qemu:///system",
			"host:2222", "qemu+ssh://me@host:2222/system", transportSSH, []string{"/s"}},
		"qemu+libssh2://host/system?known_hosts_verify=auto": {"qemu:///system", "host:22", "qemu+ssh://host:22/system", transportSSH,
			[]string{"/var/run/libvirt/libvirt-sock", "/var/run/libvirt/virtqemud-sock"}},
		"test:///default": {"test:///default", "", "test:///default", transportUnix, nil},
		"test+tcp://host:5000/default": {"test:///default", "host:5000", "test+tcp://host:5000/default", transportTCP,
			nil},
		"test:///a%3Fb.xml":         {"test:///a%3Fb.xml", "", "test:///a%3Fb.xml", transportUnix, nil},
		"test:///abs/path/node.xml": {"test:///abs/path/node.xml", "", "test:///abs/path/node.xml", transportUnix, nil},
	} {
		e, err := parseURI(uri)
		require.NoError(t, err, uri)
		require.Equal(t, want.driver, e.driverURI(), uri)
		require.Equal(t, want.host, e.String(), uri)
		require.Equal(t, want.transport, e.transport, uri)
		if want.address != "" {
			require.Equal(t, want.address, e.address(), uri)
		}
		if want.sockets != nil {
			require.Equal(t, want.sockets, e.sockets(), uri)
		}
	}
}

// Without an XDG runtime folder the session's daemon uses the cache folder.
func TestURISessionWithoutRuntimeFolder(t *testing.T) {
	t.Setenv("XDG_RUNTIME_DIR", "")
	t.Setenv("XDG_CACHE_HOME", "/home/me/.cache")
	e, err := parseURI("qemu:///session?mode=legacy")
	require.NoError(t, err)
	require.Equal(t, []string{"/home/me/.cache/libvirt/libvirt-sock"}, e.sockets())
}

func TestURIParameters(t *testing.T) {
	e, err := parseURI("qemu+ssh://host/system?keyfile=/key&knownhosts=/known&sshauth=privkey&no_verify=1&known_hosts_verify=ignore")
	require.NoError(t, err)
	require.Equal(t, sshParameters{keyFile: "/key", knownHosts: "/known", hostKeys: "ignore", auth: []string{"privkey"}}, e.ssh)
	require.True(t, e.noVerify)
	e, err = parseURI("qemu+tls://host/system?no_verify=0&pkipath=/pki")
	require.NoError(t, err)
	require.False(t, e.noVerify)
	require.Equal(t, "/pki", e.pkiPath)
}

// A URI that can't be right is refused before anything is connected, with the way out.
func TestURITypos(t *testing.T) {
	for uri, want := range map[string]string{
		"":                                                 "is empty",
		"system":                                           "has no driver",
		"/run/libvirt/libvirt-sock":                        "has no driver",
		"qemu:system":                                      "write qemu:///system",
		"qemu://system":                                    `names the host "system" and no path (write qemu:///system for this host`,
		"qemu:///sytem":                                    "did you mean /system?",
		"qemu:///":                                         "known here: /session, /system",
		"quemu:///system":                                  "did you mean qemu?",
		"xen:///system":                                    "known here: qemu, test",
		"qemu+shs://host/system":                           "did you mean ssh?",
		"qemu+ext://host/system":                           `names the transport "ext"`,
		"qemu+unix://host/system":                          "names a host for a unix socket",
		"qemu+ssh:///system":                               "names no host",
		"qemu+tls://me@host/system":                        "whom only SSH has",
		"qemu+tcp://host:0/system":                         `has the port "0"`,
		"qemu+tcp://host:70000/system":                     `has the port "70000"`,
		"qemu+tcp://host:port/system":                      "can't be read as a URI",
		"qemu:///system#x":                                 "has an end that means nothing",
		"qemu:///system?":                                  "has an end that means nothing",
		"qemu:///system?sockt=/x":                          `has the parameter "sockt", which transport unix does not have (did you mean socket?)`,
		"qemu:///system?keyfile=/x":                        `"keyfile", which transport unix does not have`,
		"qemu:///system?socket=x":                          "that is no absolute path",
		"qemu:///system?socket=/x&socket=/":                "more than once",
		"qemu:///system?mode=fast":                         "neither auto, direct nor legacy",
		"qemu:///system?a=%zz":                             "can't be read",
		"qemu+tcp://host/system?socket=/x":                 "transport tcp has none",
		"qemu+tls://host/system?no_verify=x":               "neither 0 nor 1",
		"qemu+tls://host/system?tls_priority=NORMAL":       "is GnuTLS's own",
		"qemu+ssh://host/system?netcat=/bin/nc":            "none is needed",
		"qemu+ssh://host/system?sshauth=password":          "there is nobody to ask",
		"qemu+ssh://host/system?sshauth=privkey,agnet":     "is not made of agent and privkey",
		"qemu+ssh://host/system?known_hosts_verify=always": "neither normal, auto nor ignore",
		"qemu+ssh://host/session":                          "add ?socket=",
		"test:///":                                         "write test:///default",
		"test:///a/../b":                                   "write test:///default",
	} {
		_, err := New(Options{URI: uri})
		var config *errors.ConfigError
		require.ErrorAs(t, err, &config, uri)
		require.True(t, config.Has("uri"), uri)
		require.ErrorContains(t, err, want, uri)
		require.NotEmpty(t, config.Problems[0].Fix, uri)
	}
}

func TestURIPasswordIsInNoMessage(t *testing.T) {
	for _, uri := range []string{
		"qemu+ssh://me:hunter2@host/system",
		"qemu+ssh://me:hunter2@host:x/system",
		"qemu+ssh://me:hunter2%zz@host/system",
		"qemu+ssh://me:hun/hunter2@host/system",
		"quemu://me:hunter2@host",
		"qemu+ssh://me:22/hunter2@host/system",
	} {
		_, err := New(Options{URI: uri})
		require.Error(t, err)
		require.NotContains(t, err.Error(), "hunter2")
	}
}

func FuzzURI(f *testing.F) {
	for _, uri := range []string{"qemu:///system", "qemu+ssh://me@host:22/system?socket=/x&sshauth=agent", "qemu+tls://[::1]/session?pkipath=/p",
		"test+tcp://h/default", "test:///a.xml", "qemu+ssh://a:b@c/system", "qemu:///system?a=%"} {
		f.Add(uri)
	}
	f.Fuzz(func(t *testing.T, uri string) {
		e, err := parseURI(uri)
		if err != nil {
			var config *errors.ConfigError
			require.ErrorAs(t, err, &config)
			require.True(t, config.Has("uri"))
			return
		}
		require.True(t, strings.HasPrefix(e.driverURI(), e.driver+":///"))
		require.Equal(t, e.local(), e.host == "")
		require.False(t, !e.local() && e.port == "")
		again, err := parseURI(e.String())
		if e.transport != transportSSH || e.path != "/session" { // there the socket must be named
			require.NoError(t, err, "%q of %q", e.String(), uri)
			require.Equal(t, e.driverURI(), again.driverURI())
		}
	})
}
