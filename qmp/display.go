package qmp

import (
	"context"
	"fmt"

	"github.com/maqet/maqet/errors"
)

// Displays that a client can connect to, by the name that set_password takes.
const (
	DisplayVNC   = "vnc"
	DisplaySpice = "spice"
)

// Longest passwords, in bytes: VNC's is a DES key (RFC 6143, section 7.2.2), Spice's is
// limited by its library (SPICE_MAX_PASSWORD_LENGTH).
const (
	MaxVNCPassword   = 8
	MaxSpicePassword = 60
)

// SetDisplayPassword changes the password that clients of the VM's display, "vnc" or
// "spice", must give from now on; those who are connected stay. The display must have been
// configured with one (vm.Display.PasswordFile): otherwise QEMU refuses, which is an
// *errors.QMPError. A bad display or password is an *errors.ConfigError, which does not have
// the password. It counts as a [Privileged] command.
func (m *Manager) SetDisplayPassword(ctx context.Context, ref, display, password string) error {
	if err := CheckDisplayPassword(display, password); err != nil {
		err.VM = m.label(ref)
		return err
	}
	return SetDisplayPassword(ctx, m.On(ref), display, password)
}

// SetDisplayPassword is [Manager.SetDisplayPassword] for one QEMU. It does not look at the
// password.
func SetDisplayPassword(ctx context.Context, e Executor, display, password string) error {
	_, err := e.Execute(ctx, "set_password", map[string]string{"protocol": display, "password": password})
	return err
}

// CheckDisplayPassword reports what keeps a text from being a password for the display, nil
// if nothing. QEMU would cut a longer one for VNC without a word.
func CheckDisplayPassword(display, password string) *errors.ConfigError {
	limit := 0
	p := errors.Problem{Field: "password"}
	switch display {
	case DisplayVNC:
		limit = MaxVNCPassword
	case DisplaySpice:
		limit = MaxSpicePassword
	default:
		p = errors.Problem{Field: "display", Value: display, Message: "is not a display", Fix: "use vnc or spice"}
	}
	switch {
	case limit == 0:
	case password == "":
		p.Message, p.Fix = "is empty", "give one"
	case len(password) > limit:
		p.Message, p.Fix = fmt.Sprintf("has %d bytes, %s takes %d", len(password), display, limit), "use a shorter one"
	default:
		return nil
	}
	return &errors.ConfigError{Problems: []errors.Problem{p}}
}
