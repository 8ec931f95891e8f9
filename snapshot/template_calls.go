package snapshot

import (
	"context"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/vm"
)

var errNotYet = errors.New("not there yet")

// Capture makes a template of a live VM.
func (c *Coordinator) Capture(ctx context.Context, ref, template string, opts ...CaptureOption) (Template, error) {
	return Template{}, errNotYet
}

// Fork starts a copy of a template and returns when its guest's agent has answered.
func (c *Coordinator) Fork(ctx context.Context, template string, opts ...ForkOption) (vm.Instance, error) {
	return vm.Instance{}, errNotYet
}

// Templates lists the templates, ordered by name.
func (c *Coordinator) Templates(ctx context.Context) ([]Template, error) { return nil, errNotYet }

// Template returns a template by name or ID.
func (c *Coordinator) Template(ctx context.Context, name string) (Template, error) {
	return Template{}, errNotYet
}

// DeleteTemplate deletes a template. One that forks or other templates stand on is
// errors.ErrTemplateInUse.
func (c *Coordinator) DeleteTemplate(ctx context.Context, name string) error { return errNotYet }

// ResetToTemplate ends the guest of a fork and has it continue from its template again, under
// the same name, ID and addresses. What it wrote is gone.
func (c *Coordinator) ResetToTemplate(ctx context.Context, ref string, opts ...vm.StartOption) (vm.Instance, error) {
	return vm.Instance{}, errNotYet
}
