package libvirt

import (
	"context"
	"io"
	"io/fs"
	"net"
	"syscall"
	"testing"

	"github.com/digitalocean/go-libvirt"
	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
)

// What go-libvirt returns gets its kind by what it is, never by its text.
func TestCallErrors(t *testing.T) {
	e, err := parseURI("qemu:///system")
	require.NoError(t, err)
	answer := func(code libvirt.ErrorNumber) error {
		return libvirt.Error{Code: uint32(code), Message: "libvirt's words"}
	}
	for name, tc := range map[string]struct {
		err, lost error
		kind      *errors.Kind
		message   string
	}{
		"no domain":        {answer(libvirt.ErrNoDomain), nil, errors.ErrVMNotFound, `do "web": libvirt: libvirt's words`},
		"wrong state":      {answer(libvirt.ErrOperationInvalid), nil, errors.ErrIllegalTransition, "libvirt's words"},
		"bad XML":          {answer(libvirt.ErrXMLError), nil, errors.ErrInvalidConfiguration, "libvirt's words"},
		"volume there":     {answer(libvirt.ErrStorageVolExist), nil, errors.ErrImageCreation, "libvirt's words"},
		"agent silent":     {answer(libvirt.ErrAgentUnresponsive), nil, errors.ErrAgentUnavailable, "libvirt's words"},
		"not logged in":    {answer(libvirt.ErrAuthFailed), nil, errors.ErrLibvirtConnection, "add yourself to the group libvirt"},
		"not allowed":      {answer(libvirt.ErrAccessDenied), nil, errors.ErrBackend, "ask the administrator"},
		"no driver":        {answer(libvirt.ErrNoConnect), nil, errors.ErrLibvirtConnection, "libvirt-daemon-driver-qemu"},
		"anything else":    {answer(libvirt.ErrInternalError), nil, errors.ErrBackend, "libvirt's words"},
		"answered, lost":   {answer(libvirt.ErrNoDomain), io.EOF, errors.ErrVMNotFound, "libvirt's words"},
		"old libvirt":      {libvirt.ErrUnsupported, nil, errors.ErrBackend, "too old"},
		"interrupted":      {libvirt.ErrInterrupted, nil, errors.ErrLibvirtConnection, "lost qemu:///system before it answered"},
		"EINVAL":           {syscall.EINVAL, nil, errors.ErrLibvirtConnection, "may have been done or not"},
		"network":          {&net.OpError{Op: "write", Err: syscall.EPIPE}, nil, errors.ErrLibvirtConnection, "broken pipe"},
		"ended":            {libvirt.ErrInterrupted, io.EOF, errors.ErrLibvirtConnection, "it has ended the connection"},
		"hung":             {libvirt.ErrInterrupted, errNoAnswer, errors.ErrLibvirtConnection, "does not answer"},
		"fn's own":         {errors.New("mine"), nil, errors.ErrBackend, `do "web": backend error: mine`},
		"fn's own, a kind": {errors.ErrSnapshotBlocked, nil, errors.ErrSnapshotBlocked, "snapshot blocked"},
	} {
		got := callError(e, "do", "web", tc.err, tc.lost)
		require.Same(t, tc.kind, errors.KindOf(got), name)
		require.ErrorContains(t, got, tc.message, name)
		if tc.lost == nil {
			require.ErrorIs(t, got, tc.err, name)
		}
	}
	require.NoError(t, callError(e, "do", "web", nil, io.EOF), "it was answered before")
}

// Who could not connect is told what to do.
func TestConnectErrors(t *testing.T) {
	for uri, cases := range map[string]map[string]error{
		"qemu:///system": {
			"start libvirtd":                    &net.OpError{Op: "dial", Err: syscall.ENOENT},
			"add yourself to the group libvirt": &net.OpError{Op: "dial", Err: syscall.EACCES},
			"libvirtd may hang":                 context.DeadlineExceeded,
			"add yourself to the group":         libvirt.Error{Code: uint32(libvirt.ErrAuthUnavailable), Message: "no polkit agent"},
		},
		"qemu:///session":       {"nobody but its own user": fs.ErrPermission},
		"qemu+tcp://h/system":   {"libvirtd-tcp.socket": syscall.ECONNREFUSED, "check the name": &net.DNSError{}, "check the port": errNotLibvirt},
		"qemu+tls://h/system":   {"libvirtd-tls.socket": syscall.ECONNREFUSED},
		"qemu+ssh://h/system":   {"sshd and libvirtd": syscall.ECONNREFUSED},
		"qemu+ssh://h:1/system": {"add the user to the group": libvirt.Error{Code: uint32(libvirt.ErrAuthFailed)}},
	} {
		e, err := parseURI(uri)
		require.NoError(t, err)
		for hint, cause := range cases {
			err := connectError(e, cause)
			require.Same(t, errors.ErrLibvirtConnection, errors.KindOf(err), hint)
			require.ErrorIs(t, err, cause, hint)
			require.ErrorContains(t, err, hint)
			require.ErrorContains(t, err, "connect to "+e.String())
		}
	}
}

// Of several sockets, the error is about the one that is there.
func TestMostTelling(t *testing.T) {
	denied := &net.OpError{Op: "dial", Err: syscall.EACCES}
	require.Equal(t, denied, mostTelling([]error{fs.ErrNotExist, denied}))
	require.Equal(t, fs.ErrNotExist, mostTelling([]error{fs.ErrNotExist, fs.ErrNotExist}))
}
