package vm

import (
	"bytes"

	"github.com/maqet/maqet/errors"
)

// attend handles the helpers that end before the guest does.
func (g *liveGuest) attend(lost <-chan Helper) {
	for {
		select {
		case h := <-lost:
			g.helperLost(h)
		case <-g.guest.Done():
			return
		case <-g.ctx.Done():
			return
		}
	}
}

// helperLost records the end of a helper. Who waits for a guest that was not up yet waits in
// vain: its start fails.
func (g *liveGuest) helperLost(h Helper) {
	status := h.Exit.String()
	last := lastLine(h.Log)
	g.m.log.Warn("a helper has ended before its guest", "vm", g.name, "helper", h.Name, "exit", status, "said", last)
	if !g.up.Load() {
		g.doom(&errors.Error{Kind: errors.ErrVMStart, Op: h.Name, VM: g.name, Msg: "has ended with " + status + " before the guest was up: " + last})
	}
	err := g.m.states.retry(g.ctx, g.id, func(inst Instance) error {
		if !g.owns(inst) {
			return nil
		}
		_, err := g.m.states.amend(g.ctx, inst.Clone(), func(i *Instance) {
			for n := range i.Runtime.Helpers {
				if i.Runtime.Helpers[n].Process == h.Process {
					i.Runtime.Helpers[n].Exit = h.Exit
				}
			}
			if !i.unreachable() { // which nothing but the reason says
				i.Reason = ReasonHelperEnded + ": " + h.Name + ": " + status
			}
		})
		return err
	})
	if err != nil && g.ctx.Err() == nil {
		g.m.log.Warn("end of a helper not recorded", "vm", g.name, "error", err)
	}
}

// lastLine returns the last line of a log, empty if there is none.
func lastLine(path string) string {
	text := bytes.TrimSpace([]byte(lastOf(path)))
	return string(text[bytes.LastIndexByte(text, '\n')+1:])
}
