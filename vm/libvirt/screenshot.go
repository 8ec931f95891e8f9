package libvirt

import (
	"context"
	"slices"
	"strconv"

	"github.com/digitalocean/go-libvirt"
	"libvirt.org/go/libvirtxml"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/qmp"
)

// maxScreen bounds a picture, in bytes: the guest chooses how large its screen is.
const maxScreen = 256 << 20

// Screendump implements qmp.Screendumper through virDomainScreenshot, whose picture comes
// over the connection: QEMU may run on another host.
func (c *control) Screendump(ctx context.Context, o qmp.ScreenshotOptions) ([]byte, error) {
	const op = "take a screenshot"
	if err := c.Err(); err != nil {
		return nil, err
	}
	screen, err := c.screen(ctx, o)
	if err != nil {
		return nil, err
	}
	answer := make(chan *picture, 1)
	err = c.host.call(ctx, op, c.vm, func(l *libvirt.Libvirt) error {
		var p picture
		_, err := l.DomainScreenshot(c.domain, &p, screen, 0)
		answer <- &p
		var refused libvirt.Error
		if errors.As(err, &refused) || errors.Is(err, libvirt.ErrInterrupted) || len(p.data) == 0 {
			return err
		}
		// go-libvirt takes the end of the picture's stream for the call's reply, fails to
		// decode that, and has thrown the reply away. That the picture is whole shows when
		// it is decoded.
		return nil
	})
	if err == nil {
		p := <-answer
		if p.tooLong {
			err = errors.New("the picture has more than " + strconv.Itoa(maxScreen) + " bytes")
		} else {
			return p.data, nil
		}
	}
	if ctx.Err() != nil {
		return nil, errors.Wrap(errors.ErrQMPTimeout, op, c.vm, err)
	}
	return nil, errors.Wrap(errors.KindOf(controlError(err)), op, c.vm, err)
}

// picture collects what a stream brings. Its Write never fails: go-libvirt would wedge the
// connection.
type picture struct {
	data    []byte
	tooLong bool
}

func (p *picture) Write(b []byte) (int, error) {
	if len(p.data)+len(b) > maxScreen {
		p.tooLong, p.data = true, nil
	}
	if !p.tooLong {
		p.data = append(p.data, b...)
	}
	return len(b), nil
}

// screen returns libvirt's number of a screen: libvirt counts the heads of all video
// devices, in their order.
func (c *control) screen(ctx context.Context, o qmp.ScreenshotOptions) (uint32, error) {
	videos, err := c.videos(ctx)
	if err != nil {
		return 0, err
	}
	if len(videos) == 0 {
		return 0, &errors.Error{Kind: errors.ErrQMPUnsupported, Op: "take a screenshot", VM: c.vm, Msg: "it has no display",
			Hint: "set vm.Config.Display.Adapter"}
	}
	if o.Device == "" {
		return 0, nil
	}
	number := uint32(0)
	for _, v := range videos {
		heads := max(v.Model.Heads, 1)
		if v.Alias != nil && (v.Alias.Name == o.Device || v.Alias.Name == aliasOf(o.Device)) {
			if o.Head < int(heads) {
				return number + uint32(o.Head), nil
			}
			break
		}
		number += uint32(heads)
	}
	return 0, &errors.QMPError{VM: c.vm, Command: "screendump", Class: "GenericError",
		Desc: "the domain has no video device " + strconv.Quote(o.Device) + " with a head " + strconv.Itoa(o.Head)}
}

func (c *control) videos(ctx context.Context) ([]libvirtxml.DomainVideo, error) {
	const op = "take a screenshot"
	answer := make(chan string, 1)
	err := c.host.call(ctx, op, c.vm, func(l *libvirt.Libvirt) error {
		text, err := l.DomainGetXMLDesc(c.domain, 0)
		answer <- text
		return err
	})
	if err != nil {
		return nil, errors.Wrap(errors.KindOf(controlError(err)), op, c.vm, err)
	}
	var domain libvirtxml.Domain
	if err := domain.Unmarshal(<-answer); err != nil {
		return nil, errors.Wrap(errors.ErrQMP, op, c.vm, err)
	}
	if domain.Devices == nil {
		return nil, nil
	}
	return slices.DeleteFunc(domain.Devices.Videos, func(v libvirtxml.DomainVideo) bool { return v.Model.Type == "none" }), nil
}
