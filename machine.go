package maqet

import (
	"context"
	"io/fs"

	"github.com/maqet/maqet/guest"
	"github.com/maqet/maqet/vm"
)

// Machine is a handle to one VM: the managers' calls without the reference. It holds
// no resources and needs no closing; copies are as good. It is safe for concurrent use.
type Machine struct {
	m        *Maqet
	id, name string
}

// ID returns the VM's ID.
func (h *Machine) ID() string { return h.id }

// Name returns the VM's name.
func (h *Machine) Name() string { return h.name }

// String returns the name.
func (h *Machine) String() string { return h.name }

// Instance returns the VM's record as it is now.
func (h *Machine) Instance(ctx context.Context) (vm.Instance, error) { return h.m.VM.Get(ctx, h.id) }

// Start boots the VM and waits until it is ready, as [Maqet.Run] does.
func (h *Machine) Start(ctx context.Context, opts ...vm.StartOption) error {
	inst, err := h.m.VM.Get(ctx, h.id)
	if err != nil {
		return err
	}
	if !inst.Config.Agent.Disabled {
		opts = append([]vm.StartOption{vm.WaitByDefault(h.m.Guest.Until(guest.AgentReady()))}, opts...)
	}
	_, err = h.m.VM.Start(ctx, h.id, opts...)
	return err
}

// Stop ends the VM; see vm.Manager.Stop.
func (h *Machine) Stop(ctx context.Context, opts ...vm.StopOption) (vm.StopReport, error) {
	return h.m.VM.Stop(ctx, h.id, opts...)
}

// Remove forgets the VM; see vm.Manager.Remove.
func (h *Machine) Remove(ctx context.Context, opts ...vm.RemoveOption) error {
	return h.m.VM.Remove(ctx, h.id, opts...)
}

// Wait returns when the VM is in one of the states; without any, when it is not live.
func (h *Machine) Wait(ctx context.Context, states ...vm.State) (vm.Instance, error) {
	return h.m.VM.Wait(ctx, h.id, states...)
}

// WaitFor returns when all conditions hold in the guest.
func (h *Machine) WaitFor(ctx context.Context, conds ...guest.Condition) error {
	return h.m.Guest.Wait(ctx, h.id, conds...)
}

// Exec runs a program in the guest; args[0] is the program. A non-zero exit is also
// errors.ErrCommandFailed.
func (h *Machine) Exec(ctx context.Context, args ...string) (guest.Result, error) {
	return h.m.Guest.Exec(ctx, h.id, guest.Command{Args: args})
}

// Command runs a program in the guest with an environment, a folder and streams.
func (h *Machine) Command(ctx context.Context, cmd guest.Command) (guest.Result, error) {
	return h.m.Guest.Exec(ctx, h.id, cmd)
}

// ReadFile returns the content of a file in the guest.
func (h *Machine) ReadFile(ctx context.Context, path string) ([]byte, error) {
	return h.m.Guest.ReadFile(ctx, h.id, path)
}

// WriteFile writes a file in the guest, with this mode if it is made.
func (h *Machine) WriteFile(ctx context.Context, path string, data []byte, perm fs.FileMode) error {
	return h.m.Guest.WriteFile(ctx, h.id, path, data, perm)
}

// CopyTo copies a file or a tree into the guest.
func (h *Machine) CopyTo(ctx context.Context, hostPath, guestPath string) error {
	return h.m.Guest.CopyTo(ctx, h.id, hostPath, guestPath)
}

// CopyFrom copies a file or a tree out of the guest.
func (h *Machine) CopyFrom(ctx context.Context, guestPath, hostPath string) error {
	return h.m.Guest.CopyFrom(ctx, h.id, guestPath, hostPath)
}

// Console returns the guest's console: its text so far, what follows, and typing.
func (h *Machine) Console() (guest.Console, error) { return h.m.Guest.Console(h.id) }

// Pause halts the virtual CPUs.
func (h *Machine) Pause(ctx context.Context) error { return h.m.QMP.Pause(ctx, h.id) }

// Resume lets the virtual CPUs run again.
func (h *Machine) Resume(ctx context.Context) error { return h.m.QMP.Resume(ctx, h.id) }

// Reset pushes the reset button: the guest boots anew without a shutdown.
func (h *Machine) Reset(ctx context.Context) error { return h.m.QMP.Reset(ctx, h.id) }
