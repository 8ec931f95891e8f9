package guest

import (
	"context"

	"github.com/maqet/maqet/errors"
)

// Freeze asks the agent to flush and freeze the guest's file systems, and returns how many are
// frozen.
func (m *Manager) Freeze(ctx context.Context, ref string) (int, error) {
	return 0, &errors.Error{Kind: errors.ErrAgentUnavailable, Op: "freeze file systems", VM: ref, Msg: "not there yet"}
}

// Thaw undoes [Manager.Freeze].
func (m *Manager) Thaw(ctx context.Context, ref string) error {
	return &errors.Error{Kind: errors.ErrAgentUnavailable, Op: "thaw file systems", VM: ref, Msg: "not there yet"}
}
