package libvirt

import (
	"context"
	"io"
	"slices"
	"strconv"

	"github.com/digitalocean/go-libvirt"
	"libvirt.org/go/libvirtxml"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/internal/libvirtrpc"
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
	ctx, cancel := context.WithTimeoutCause(ctx, c.host.opts.Timeout, errNoAnswer)
	defer cancel()
	data, err := c.picture(ctx, screen)
	switch {
	case err == nil:
		return data, nil
	case ctx.Err() != nil:
		return nil, errors.Wrap(errors.ErrQMPTimeout, op, c.vm, context.Cause(ctx))
	}
	return nil, errors.Wrap(errors.KindOf(controlError(err)), op, c.vm, err)
}

// picture reads a picture over a connection of its own: go-libvirt takes the end of a
// picture's stream for the reply, and can be stuck for good when libvirtd says more.
func (c *control) picture(ctx context.Context, screen uint32) ([]byte, error) {
	conn, err := c.host.dial(ctx)
	if err != nil {
		return nil, err
	}
	stream, err := libvirtrpc.OpenScreenshot(ctx, conn, c.host.driverURI(), c.domain, screen)
	if err != nil {
		return nil, err
	}
	defer func() { _ = stream.Close() }()                       // it has been read
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })() // the stream would wait for its end
	data, err := io.ReadAll(io.LimitReader(stream, maxScreen+1))
	if err == nil && len(data) > maxScreen {
		err = errors.New("the picture has more than " + strconv.Itoa(maxScreen) + " bytes")
	}
	return data, err
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
	text, err := ask(ctx, c.host.call, op, c.vm, func(l *libvirt.Libvirt) (string, error) {
		return l.DomainGetXMLDesc(c.domain, 0)
	})
	if err != nil {
		return nil, errors.Wrap(errors.KindOf(controlError(err)), op, c.vm, err)
	}
	var domain libvirtxml.Domain
	if err := domain.Unmarshal(text); err != nil {
		return nil, errors.Wrap(errors.ErrQMP, op, c.vm, err)
	}
	if domain.Devices == nil {
		return nil, nil
	}
	return slices.DeleteFunc(domain.Devices.Videos, func(v libvirtxml.DomainVideo) bool { return v.Model.Type == "none" }), nil
}
