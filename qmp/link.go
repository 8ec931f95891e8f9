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
	err := m.setLink(ctx, ref, card, up)
	if !noDevice(err) {
		return err
	}
	conn, findErr := m.find.QMP(ctx, ref)
	if namer, ok := conn.(DeviceNamer); ok && findErr == nil {
		err = m.setLink(ctx, ref, namer.DeviceID(card), up)
	}
	if noDevice(err) {
		return &errors.Error{Kind: errors.KindOf(err), Op: "set the link of card " + card, VM: m.label(ref), Err: err,
			Hint: `cards are called "net0", "net1", ... unless Config.Networks says otherwise`}
	}
	return err
}

func (m *Manager) setLink(ctx context.Context, ref, id string, up bool) error {
	_, err := m.Execute(ctx, ref, "set_link", map[string]any{"name": id, "up": up})
	return err
}

func noDevice(err error) bool {
	var refusal *errors.QMPError
	return errors.As(err, &refusal) && refusal.Class == "DeviceNotFound"
}
