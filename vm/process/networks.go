package process

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/internal/guestview"
	"github.com/maqet/maqet/internal/spelling"
	"github.com/maqet/maqet/qmp"
	"github.com/maqet/maqet/vm"
)

// card is a network card of the configuration with its place.
type card = guestview.Card

func (b *builder) cards() []card { return guestview.Cards(b.spec.Config, b.spec.Unplugged) }

// networks adds each card and what is behind it. Both have the name of the network, by
// which QMP's set_link finds them.
func (b *builder) networks() {
	for _, c := range b.cards() {
		b.notReserved(c.Field+".name", c.Name)
		netdev := b.cable(c)
		if netdev != nil {
			netdev["id"] = c.Name
			b.json("netdev", c.Name, c.Field, netdev)
		}
		device := props{"driver": b.cardDriver(c), "id": c.Name, "mac": c.MACOf(b.spec.ID)}
		if netdev != nil {
			device["netdev"] = c.Name
		}
		if c.BootOrder > 0 {
			device["bootindex"] = c.BootOrder
		} else if !b.host.microvm() && !slices.Contains(notPCI, c.Model) {
			device["romfile"] = "" // nobody boots from it, and loading it takes time
		}
		b.json("device", c.Name, c.Field, device)
		b.capture(c, netdev != nil)
	}
}

// setUpCards does what has to be done between a launch and the guest's first instruction.
func (g *guest) setUpCards(ctx context.Context) error {
	g.mu.Lock()
	cards, ports := g.cards, g.ports
	g.mu.Unlock()
	if len(cards) == 0 {
		return nil
	}
	for _, c := range cards {
		if !c.LinkDown { // no option of QEMU's says it
			continue
		}
		if _, err := g.control.Execute(ctx, "set_link", map[string]any{"name": c.Name, "up": false}); err != nil {
			return err
		}
	}
	forwards, err := g.settledForwards(ctx, cards)
	if err == nil {
		err = openPorts(ports)
	}
	if err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.cards = nil
	if len(forwards) > 0 {
		g.runtime.Forwards = forwards
	}
	return nil
}

// notPCI are the cards that are not PCI devices, and have no option ROM.
var notPCI = []string{"usb-net", "ne2k_isa"}

// cardDriver returns QEMU's name of the card.
func (b *builder) cardDriver(c card) string {
	switch {
	case c.Model == "" || c.Model == vm.ModelVirtio:
		return b.virtio("net")
	case b.host.microvm():
		b.problem(c.Field+".model", c.Model, "needs a bus that a microvm has not", "use virtio, or another machine")
	case b.host.devices == nil || slices.Contains(b.host.devices, c.Model):
	default:
		fix := "use virtio, or a name that " + b.host.binary + " -device help lists"
		if near := similar(c.Model, b.host.devices); len(near) > 0 {
			fix = "did you mean " + strings.Join(near, ", ") + "?"
		}
		b.problem(c.Field+".model", c.Model, "is not known to this QEMU", fix)
	}
	return c.Model
}

// similar returns at most three of names that differ from name in at most two characters.
func similar(name string, names []string) []string {
	var near []string
	for _, have := range names {
		if spelling.Distance(name, have) <= 2 {
			near = append(near, have)
		}
	}
	return near[:min(3, len(near))]
}

// cable returns what is behind a card, without its id; nil for nothing.
func (b *builder) cable(c card) props {
	switch c.TypeOf() {
	case vm.NetworkSegment:
		return b.segmentCable(c)
	case vm.NetworkPasst:
		return b.passtCable(c)
	case vm.NetworkTap, vm.NetworkBridge:
		return b.tapCable(c)
	case vm.NetworkNone:
		return nil
	}
	netdev := props{"type": "user"}
	var forwards []props
	for _, f := range c.Forwards {
		forwards = append(forwards, props{"str": qmp.Forward(f).Rule()})
	}
	if len(forwards) > 0 {
		netdev["hostfwd"] = forwards
	}
	if c.Restrict {
		netdev["restrict"] = true
	}
	if c.Subnet != "" {
		netdev["net"] = c.Subnet
	}
	return netdev
}

// capture has QEMU write the card's packets to a file, with the object filter-dump (QEMU
// manual, -object filter-dump). QEMU would write over a file that exists, so it gets the
// name by which the process itself finds the descriptor of a new one.
func (b *builder) capture(c card, connected bool) {
	switch {
	case c.Capture == "":
		return
	case !connected:
		b.problem(c.Field+".capture", c.Capture, "can't be made of a card without a cable", "leave it out, or use another type")
		return
	}
	fd := b.inherit(inherited{open: func(context.Context) (*os.File, error) {
		file, err := createCapture(c.Capture)
		if err != nil {
			return nil, refuse(c.Field+".capture", c.Capture, err.Error(), "give a path in a folder that exists and can be written to")
		}
		if b.captures == nil {
			b.captures = map[string]string{}
		}
		b.captures[c.Name] = file.Name()
		return file, nil
	}})
	id := "capture-" + c.Name
	b.json("object", id, c.Field+".capture", props{"qom-type": "filter-dump", "id": id, "netdev": c.Name, "file": "/proc/self/fd/" + fd})
}

// maxCaptures bounds how many files one path can have.
const maxCaptures = 10000

// createCapture makes a new file with the path, or with a number appended to it.
func createCapture(path string) (*os.File, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	for i := range maxCaptures {
		numbered := path
		if i > 0 {
			numbered = fmt.Sprintf("%s.%d", path, i)
		}
		f, err := os.OpenFile(numbered, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if !errors.Is(err, os.ErrExist) {
			return f, err
		}
	}
	return nil, fmt.Errorf("there are %d of it", maxCaptures)
}

// removeCaptures removes those of a launch that failed.
func (b *builder) removeCaptures() error {
	var errs []error
	for _, path := range b.captures {
		errs = append(errs, ignore(os.Remove(path), os.ErrNotExist))
	}
	return errors.Join(errs...)
}

// refuse is a problem of one field that shows only when it is used.
func refuse(field, value, message, fix string) error {
	return &errors.ConfigError{Kind: errors.ErrInvalidConfiguration,
		Problems: []errors.Problem{{Field: field, Value: value, Message: message, Fix: fix}}}
}
