package process

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/maqet/maqet/internal/guestview"
	"github.com/maqet/maqet/vm"
)

// settledForwards returns the forwards of all cards by name, with the ports that QEMU chose.
func (g *guest) settledForwards(ctx context.Context, cards []card) (map[string][]vm.Forward, error) {
	forwards, open := map[string][]vm.Forward{}, false
	for _, c := range cards {
		if len(c.Forwards) > 0 {
			forwards[c.Name] = slices.Clone(c.Forwards)
			open = open || slices.ContainsFunc(c.Forwards, func(f vm.Forward) bool { return f.Port == 0 })
		}
	}
	if !open {
		return forwards, nil
	}
	text, err := g.monitor(ctx, "info usernet")
	if err != nil {
		return nil, err
	}
	rows := guestview.ParseUsernet(text)
	for name, list := range forwards {
		for i := range list {
			if list[i].Port != 0 {
				continue
			}
			if list[i].Port = guestview.TakeRow(rows, name, list[i]); list[i].Port == 0 {
				return nil, fmt.Errorf("QEMU's answer does not say which port it chose for %s, guest port %d: %q", name, list[i].Guest, text)
			}
		}
	}
	return forwards, nil
}

// monitor runs a line of QEMU's human monitor, whose failures are text as well. line is
// never a user's.
func (g *guest) monitor(ctx context.Context, line string) (string, error) {
	raw, err := g.control.Execute(ctx, "human-monitor-command", map[string]string{"command-line": line})
	if err != nil {
		return "", err
	}
	var text string
	return text, json.Unmarshal(raw, &text)
}
