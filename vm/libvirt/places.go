package libvirt

import (
	"context"

	"github.com/digitalocean/go-libvirt"
	"libvirt.org/go/libvirtxml"

	"github.com/maqet/maqet/vm"
)

// places are paths on this host that libvirt has chosen for a guest that runs.
type places struct {
	sockets   map[string]string // by the name of the serial port, or the type of the display
	terminals map[string]string // by the name of the serial port
}

// findPlaces asks libvirt for the paths of what cfg leaves to it. On another host they would
// lead nowhere.
func (b *Backend) findPlaces(ctx context.Context, dom libvirt.Domain, name string, cfg vm.Config) (places, error) {
	if len(cfg.Serials) == 0 && (cfg.Display.Type == "" || cfg.Display.Type == vm.DisplayNone) || !b.host.local() {
		return places{}, nil
	}
	text, err := ask(ctx, b.host.call, "look at domain", name, func(l *libvirt.Libvirt) (string, error) {
		return l.DomainGetXMLDesc(dom, 0)
	})
	if err != nil {
		return places{}, err
	}
	var d libvirtxml.Domain
	if err := unmarshal(text, &d); err != nil || d.Devices == nil {
		return places{}, err
	}
	return placesIn(d.Devices, cfg), nil
}

func placesIn(dev *libvirtxml.DomainDeviceList, cfg vm.Config) places {
	p := places{sockets: map[string]string{}, terminals: map[string]string{}}
	names := map[string]string{}
	for i, s := range cfg.Serials {
		names[aliasOf(s.NameAt(i))] = s.NameAt(i)
	}
	port := func(alias *libvirtxml.DomainAlias, source *libvirtxml.DomainChardevSource) {
		if alias == nil || source == nil || names[alias.Name] == "" {
			return
		}
		switch name := names[alias.Name]; {
		case source.Pty != nil:
			p.terminals[name] = source.Pty.Path
		case source.UNIX != nil:
			p.sockets[name] = source.UNIX.Path
		}
	}
	for _, c := range dev.Channels {
		port(c.Alias, c.Source)
	}
	for _, s := range dev.Serials {
		port(s.Alias, s.Source)
	}
	for _, g := range dev.Graphics {
		var listeners []libvirtxml.DomainGraphicListener
		switch {
		case g.VNC != nil:
			listeners = g.VNC.Listeners
		case g.Spice != nil:
			listeners = g.Spice.Listeners
		}
		for _, l := range listeners {
			if l.Socket != nil {
				p.sockets[cfg.Display.Type] = l.Socket.Socket
			}
		}
	}
	return p
}
