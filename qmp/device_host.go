package qmp

import (
	"context"
	"net"
	"os"
	"syscall"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/internal/imagelock"
)

// mayUse refuses the IDs that [WithReserved] names.
func (m *Manager) mayUse(ref, id string) error {
	if m.hotplug.reserved == nil || !m.hotplug.reserved(id) {
		return nil
	}
	return m.deviceProblem(ref, "id", id, "is one of those by which the VM itself is run", "use another")
}

// free refuses a device whose ID, or whose socket's path, is not free.
func (m *Manager) free(ref string, d Device) error {
	if err := m.mayUse(ref, d.ID); err != nil {
		return err
	}
	if d.Serial == nil || d.Serial.Socket == "" {
		return nil
	}
	// QEMU would remove whatever is there.
	if _, err := os.Lstat(d.Serial.Socket); !errors.Is(err, os.ErrNotExist) {
		return m.deviceProblem(ref, "serial.socket", d.Serial.Socket, "exists already", "choose another path, or remove it first")
	}
	return nil
}

func (m *Manager) deviceProblem(ref, field, value, message, fix string) error {
	return &errors.ConfigError{Kind: errors.ErrInvalidConfiguration, VM: m.label(ref), Problems: []errors.Problem{{
		Field: "device." + field, Value: value, Message: message, Fix: fix}}}
}

// Takes reports what keeps a VM from being started with the device's socket, nil if
// nothing: the path is free, or has a socket that nobody listens on, as a QEMU that was
// killed leaves behind. QEMU would take the path over from anything else, too.
func (s SerialPort) Takes(ctx context.Context) error {
	if s.Socket == "" {
		return nil
	}
	info, err := os.Lstat(s.Socket)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().Type() != os.ModeSocket:
		return errors.New("is not a socket")
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", s.Socket)
	if errors.Is(err, syscall.ECONNREFUSED) {
		return nil
	}
	if err == nil {
		err = errors.Join(errors.New("somebody listens there"), conn.Close())
	}
	return err
}

// explain says more about QEMU's refusal of a disk: QEMU names neither the image nor, by
// its class, the reason.
func (p plug) explain(d Device, err error) error {
	if d.Disk == nil || !errors.Is(err, errors.ErrQMPCommand) {
		return err
	}
	e := &errors.Error{Op: "plug disk " + d.ID + " into VM", VM: p.vm(), Msg: "image " + d.Disk.Path + " as " + d.Disk.Format, Err: err}
	_, statErr := os.Stat(d.Disk.Path)
	switch {
	case errors.Is(statErr, os.ErrNotExist):
		e.Kind, e.Hint = errors.ErrImageNotFound, "correct device.disk.path"
	case imagelock.Open(d.Disk.Path):
		e.Kind, e.Hint = errors.ErrImageInUse, "plug a copy or an overlay of it"
	default:
		e.Hint = "is device.disk.format right, and may QEMU open it?"
	}
	return e
}
