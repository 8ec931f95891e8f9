package qmp

import (
	"context"

	"github.com/maqet/maqet/errors"
)

// SetLink plugs a network card's cable in, or pulls it, while the VM called ref runs. card
// is the card's name in vm.Config.Networks, or its ID if it was plugged later. The guest
// notices, as with a real cable. It is not recorded: the next start is as
// vm.Network.LinkDown says.
//
// Errors are those of [Manager.Execute]; a card that is not there is a *errors.QMPError of
// the class DeviceNotFound.
func (m *Manager) SetLink(ctx context.Context, ref, card string, up bool) error {
	_, err := m.Execute(ctx, ref, "set_link", map[string]any{"name": card, "up": up})
	var refusal *errors.QMPError
	if errors.As(err, &refusal) && refusal.Class == "DeviceNotFound" {
		return &errors.Error{Kind: errors.KindOf(err), Op: "set the link of card " + card, VM: m.label(ref), Err: err,
			Hint: `cards are called "net0", "net1", ... unless Config.Networks says otherwise`}
	}
	return err
}
