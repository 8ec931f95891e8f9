package libvirt

import (
	"context"
	"crypto/x509"
	"fmt"
	"io"
	"io/fs"
	"net"
	"slices"
	"syscall"

	"github.com/digitalocean/go-libvirt"

	"github.com/maqet/maqet/errors"
)

var (
	errLost    = errors.New("connection lost")
	errClosed  = errors.New("the backend is closed")
	errRetired = errors.New("connection is not used any more")
	// errNotLibvirt: see frames.
	errNotLibvirt = errors.New("what answers there does not speak libvirt's protocol")
	// errNoAnswer is the cause of contexts that end by a limit of this package's.
	errNoAnswer error = noAnswer{}
)

type noAnswer struct{}

func (noAnswer) Error() string { return "libvirt does not answer" }

func (noAnswer) Unwrap() error { return context.DeadlineExceeded }

// kinds says what libvirt's error numbers mean here (virErrorNumber in libvirt's virterror.h).
// Others are an errors.ErrBackend.
var kinds = map[libvirt.ErrorNumber]*errors.Kind{
	libvirt.ErrNoDomain:            errors.ErrVMNotFound,
	libvirt.ErrDomExist:            errors.ErrVMAlreadyExists,
	libvirt.ErrOperationInvalid:    errors.ErrIllegalTransition, // mostly: the domain does not run, or does so already
	libvirt.ErrXMLError:            errors.ErrInvalidConfiguration,
	libvirt.ErrXMLDetail:           errors.ErrInvalidConfiguration,
	libvirt.ErrXMLInvalidSchema:    errors.ErrInvalidConfiguration,
	libvirt.ErrConfigUnsupported:   errors.ErrInvalidConfiguration,
	libvirt.ErrCPUIncompatible:     errors.ErrInvalidConfiguration,
	libvirt.ErrNoStoragePool:       errors.ErrStorage,
	libvirt.ErrNoStorageVol:        errors.ErrImageNotFound,
	libvirt.ErrStorageVolExist:     errors.ErrImageCreation,
	libvirt.ErrNoDomainSnapshot:    errors.ErrSnapshotNotFound,
	libvirt.ErrSnapshotRevertRisky: errors.ErrSnapshotBlocked,
	libvirt.ErrAgentUnresponsive:   errors.ErrAgentUnavailable,
	libvirt.ErrAgentUnsynced:       errors.ErrAgentUnavailable,
	libvirt.ErrAgentCommandTimeout: errors.ErrAgentUnavailable,
	libvirt.ErrAgentCommandFailed:  errors.ErrGuest,
	libvirt.ErrAuthFailed:          errors.ErrLibvirtConnection,
	libvirt.ErrAuthCancelled:       errors.ErrLibvirtConnection,
	libvirt.ErrAuthUnavailable:     errors.ErrLibvirtConnection,
	libvirt.ErrNoConnect:           errors.ErrLibvirtConnection,
	libvirt.ErrInvalidConn:         errors.ErrLibvirtConnection,
}

// hasCode reports whether libvirt answered with an error of one of these codes.
func hasCode(err error, codes ...libvirt.ErrorNumber) bool {
	var e libvirt.Error
	return errors.As(err, &e) && slices.Contains(codes, libvirt.ErrorNumber(e.Code))
}

// isAnswer reports whether err is libvirt's answer to a call, and not the lack of one.
func isAnswer(err error) bool {
	var e libvirt.Error
	return errors.As(err, &e) || errors.Is(err, libvirt.ErrUnsupported)
}

// isLoss reports whether go-libvirt's err is about the connection. It returns a bare EINVAL for
// calls that come after the end of one.
func isLoss(err error) bool {
	var e net.Error
	return errors.Is(err, libvirt.ErrInterrupted) || errors.Is(err, syscall.EINVAL) || errors.Is(err, errLost) ||
		errors.Is(err, net.ErrClosed) || errors.As(err, &e)
}

// callError makes the error of a call from what fn returned. lost is why the connection has
// ended, nil while it has not. It has one of these kinds: that of the table above, with
// libvirt's message in an *errors.LibvirtError; errors.ErrLibvirtConnection where it is not known
// what came of the call; that which fn gave it; errors.ErrBackend.
func callError(e *endpoint, op, vm string, err, lost error) error {
	var answer libvirt.Error
	switch {
	case err == nil:
		return nil
	case errors.KindOf(err) != nil:
		return err
	case errors.As(err, &answer):
		return answerError(e, op, vm, answer)
	case errors.Is(err, libvirt.ErrUnsupported):
		return &errors.Error{Kind: errors.ErrBackend, Op: op, VM: vm, Err: err,
			Hint: "the libvirt of " + e.String() + " is too old for it"}
	case lost == nil && !isLoss(err):
		return errors.Wrap(errors.ErrBackend, op, vm, err)
	case lost != nil:
		err = lost
	}
	return &errors.Error{Kind: errors.ErrLibvirtConnection, Op: op, VM: vm,
		Msg: "lost " + e.String() + " before it answered", Err: plain(err),
		Hint: "it may have been done or not"}
}

func answerError(e *endpoint, op, vm string, answer libvirt.Error) error {
	code := libvirt.ErrorNumber(answer.Code)
	out := &errors.LibvirtError{Kind: kinds[code], Op: op, VM: vm, Code: int(answer.Code), Message: answer.Message, Err: answer}
	switch code {
	case libvirt.ErrAuthFailed, libvirt.ErrAuthCancelled, libvirt.ErrAuthUnavailable:
		out.Hint = permissionHint(e)
	case libvirt.ErrAccessDenied, libvirt.ErrOperationDenied:
		out.Hint = "ask the administrator of " + e.String() + " for the right to do that"
	case libvirt.ErrNoConnect:
		out.Hint = "install the driver on that host, on Debian libvirt-daemon-driver-qemu, and restart libvirtd"
	}
	return out
}

// acquireError is for calls that were not made, as there is no connection.
func acquireError(e *endpoint, op, vm string, err error) error {
	if errors.Is(err, context.Canceled) {
		return errors.Wrap(errors.ErrBackend, op, vm, err)
	}
	out := &errors.Error{Kind: errors.ErrLibvirtConnection, Op: op, VM: vm, Err: err}
	if errors.KindOf(err) == nil {
		out.Msg = "connect to " + e.String()
	}
	return out
}

// unanswered is for calls that nobody waits for any more. That libvirt was heard of meanwhile
// means that it works on it.
func unanswered(e *endpoint, op, vm string, err error, heard bool) error {
	switch {
	case errors.Is(err, context.Canceled):
		return errors.Wrap(errors.ErrBackend, op, vm, err)
	case heard:
		return &errors.Error{Kind: errors.ErrBackend, Op: op, VM: vm, Err: err,
			Msg: "not finished in time by " + e.String(), Hint: "it may still be done"}
	}
	return &errors.Error{Kind: errors.ErrLibvirtConnection, Op: op, VM: vm, Err: err,
		Msg: "no answer in time from " + e.String(), Hint: "it may still be done; libvirtd may hang, or its host be out of reach"}
}

// ended is why ctx ended, with the context's own error.
func ended(ctx context.Context) error {
	cause := context.Cause(ctx)
	if errors.Is(cause, ctx.Err()) {
		return cause
	}
	return fmt.Errorf("%w: %w", ctx.Err(), cause)
}

// plain makes the end of a connection readable.
func plain(err error) error {
	switch {
	case errors.Is(err, io.EOF):
		return fmt.Errorf("it has ended the connection: %w", err)
	case errors.Is(err, libvirt.ErrInterrupted), errors.Is(err, syscall.EINVAL):
		return fmt.Errorf("%w: %w", errLost, err)
	}
	return err
}

// connectError says why there is no connection, and what may help.
func connectError(e *endpoint, err error) error {
	op := "connect to " + e.String()
	var answer libvirt.Error
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, errors.ErrLibvirtConnection):
		return err
	case errors.As(err, &answer):
		out := answerError(e, op, "", answer)
		return &errors.Error{Kind: errors.ErrLibvirtConnection, Err: out} // whatever the number is
	}
	return &errors.Error{Kind: errors.ErrLibvirtConnection, Op: op, Err: plain(err), Hint: connectHint(e, err)}
}

func connectHint(e *endpoint, err error) string {
	if hint := securityHint(e, err); hint != "" {
		return hint
	}
	var unknown *net.DNSError
	var rejected *sshSocketError
	switch {
	case errors.Is(err, errClosed):
		return ""
	case errors.As(err, &rejected):
		return "see that libvirtd runs there, that the user may use its socket, and that sshd allows it (AllowStreamLocalForwarding)"
	case errors.Is(err, fs.ErrPermission):
		return permissionHint(e)
	case errors.Is(err, errNotLibvirt):
		return "check the port"
	case errors.As(err, &unknown):
		return "check the name of the host"
	case errors.Is(err, context.DeadlineExceeded):
		return "libvirtd may hang, or the host be out of reach"
	case e.local():
		return "start libvirtd, or say with ?socket= where it listens"
	}
	return map[transport]string{
		transportTCP: "have libvirtd listen there: on many hosts by its unit libvirtd-tcp.socket",
		transportTLS: "have libvirtd listen there: on many hosts by its unit libvirtd-tls.socket",
		transportSSH: "see that sshd and libvirtd run there",
	}[e.transport]
}

// securityHint is for hosts and clients that don't trust one another.
func securityHint(e *endpoint, err error) string {
	var (
		file  *tlsFileError
		name  x509.HostnameError
		ca    x509.UnknownAuthorityError
		key   *hostKeyError
		login *sshLoginError
	)
	switch {
	case errors.As(err, &file):
		return "see \"TLS certificates\" in libvirt's documentation, or say with ?pkipath= where cacert.pem, clientcert.pem and clientkey.pem are"
	case errors.As(err, &name):
		return "the host's certificate must have the name or address from the URI as a subject alternative name"
	case errors.As(err, &ca):
		return "its certificate is of another authority than that of cacert.pem"
	case errors.Is(err, errUnwelcome):
		return "see tls_allowed_dn_list in libvirtd.conf there, and whether clientcert.pem is of the authority that it trusts"
	case errors.As(err, &key) && key.changed():
		return "it is not the host that it was: find out why before you change known_hosts"
	case errors.As(err, &key):
		return "connect with ssh once and compare the key, or say with ?known_hosts= where it is known"
	case errors.As(err, &login) && login.keys == 0:
		return "no key was found: say with ?keyfile= where it is, or start the SSH agent"
	case errors.As(err, &login):
		return "add one of the keys to authorized_keys there"
	}
	return ""
}

func permissionHint(e *endpoint) string {
	who := "yourself"
	if !e.local() {
		who = "the user"
	}
	if e.path == "/session" {
		return "a session's libvirtd serves nobody but its own user"
	}
	return "add " + who + " to the group libvirt, or use qemu:///session"
}

// mostTelling chooses among the reasons why none of several sockets could be used: that one is
// missing says less than that one is forbidden or not served.
func mostTelling(errs []error) error {
	for _, err := range errs {
		if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if len(errs) == 0 {
		return fs.ErrNotExist
	}
	return errs[0]
}
