package guest

import (
	"context"
	"encoding/json"
	"time"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/qmp"
	"github.com/maqet/maqet/vm"
)

// freezeLimit bounds how long a guest may take to freeze its file systems, or to thaw them:
// it writes back what it holds in memory first.
const freezeLimit = 30 * time.Second

// Freeze asks the agent to flush and freeze the guest's file systems, and returns how many are
// frozen: those on block devices that can be. Programs that write to one wait until
// [Manager.Thaw]. If one fails none stays frozen. It takes 30 s at most.
//
// A guest without an agent, one that is halted, and one whose agent can't or does not answer
// in time is errors.ErrAgentUnavailable; after the last, [Manager.Thaw] should be called. (QEMU
// Guest Agent Protocol Reference, guest-fsfreeze-freeze.)
func (m *Manager) Freeze(ctx context.Context, ref string) (int, error) {
	const op = "freeze the file systems of VM"
	if err := m.listens(ctx, op, ref); err != nil {
		return 0, err
	}
	raw, err := m.freezing(ctx, op, ref, "guest-fsfreeze-freeze")
	if err != nil {
		return 0, err
	}
	var count int
	if err := json.Unmarshal(raw, &count); err != nil {
		return 0, &errors.Error{Kind: errors.ErrAgentUnavailable, Op: op, VM: m.name(ref), Msg: "the agent's answer makes no sense", Err: err}
	}
	return count, nil
}

// Thaw undoes [Manager.Freeze], also that of another process. Where nothing is frozen it does
// nothing. Errors are those of Freeze.
func (m *Manager) Thaw(ctx context.Context, ref string) error {
	const op = "thaw the file systems of VM"
	err := m.listens(ctx, op, ref)
	if err == nil {
		_, err = m.freezing(ctx, op, ref, "guest-fsfreeze-thaw")
	}
	return err
}

// freezing runs a command that takes a while, and not for ever.
func (m *Manager) freezing(ctx context.Context, op, ref, command string) (json.RawMessage, error) {
	limited, cancel := context.WithTimeout(ctx, freezeLimit)
	defer cancel()
	raw, err := m.Agent(limited, ref, command, nil)
	var refusal *errors.QMPError
	switch {
	case err == nil || ctx.Err() != nil:
		return raw, err
	case errors.As(err, &refusal):
		return nil, &errors.Error{Kind: errors.ErrAgentUnavailable, Op: op, VM: m.name(ref), Msg: "the guest's agent refuses", Err: err}
	case limited.Err() != nil:
		return nil, &errors.Error{Kind: errors.ErrAgentUnavailable, Op: op, VM: m.name(ref),
			Msg: "the agent did not answer within " + freezeLimit.String()}
	}
	return nil, err
}

// listens fails at once where no agent can answer: nobody in the guest has the channel open,
// or the guest is halted. To wait for an answer would take long.
func (m *Manager) listens(ctx context.Context, op, ref string) error {
	g, err := m.machines.Live(ctx, ref)
	if err != nil {
		return err
	}
	unavailable := func(msg, hint string) error {
		return &errors.Error{Kind: errors.ErrAgentUnavailable, Op: op, VM: m.name(ref), Msg: msg, Hint: hint}
	}
	status, err := qmp.Do[struct{ Running bool }](ctx, g.QMP(), "query-status", nil)
	if err != nil {
		return err
	}
	if !status.Running {
		return unavailable("the guest is halted", "let it run")
	}
	channels, err := qmp.Do[[]struct {
		Label string
		Open  bool `json:"frontend-open"`
	}](ctx, g.QMP(), "query-chardev", nil)
	for _, c := range channels {
		if c.Label == vm.ChannelAgent && !c.Open {
			return unavailable("no agent runs in the guest", "a guest of your own needs qemu-guest-agent")
		}
	}
	return err
}
