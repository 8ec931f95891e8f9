package qmp

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/maqet/maqet/errors"
)

// makers are the commands that make each kind of [Part].
var makers = map[string]string{
	partBlockdev: "blockdev-add", partNetdev: "netdev_add", partChardev: "chardev-add", partObject: "object-add",
}

// name is what the part is called in QEMU.
func (p Part) name() string {
	key := "id"
	if p.Option == partBlockdev {
		key = "node-name"
	}
	name, _ := p.Args[key].(string)
	return name
}

const (
	// freeTime is how long a backend may stay in use after its device is gone: QEMU
	// finishes the requests of a disk first. No event tells.
	freeTime  = 2 * time.Second
	freePause = 5 * time.Millisecond
)

// drop removes a backend; one that is not there is no error. It reports whether there
// was one.
func (p plug) drop(ctx context.Context, option, name string) (found bool, err error) {
	deadline := time.Now().Add(freeTime)
	for {
		there, err := p.has(ctx, option, name)
		if err != nil || !there {
			return found, err
		}
		err = p.remove(ctx, option, name)
		switch {
		case err == nil:
			return true, nil
		case option == partNetdev && hasClass(err, "DeviceNotFound"):
			return found, nil // the one kind that QEMU does not list
		case !errors.Is(err, errors.ErrQMPCommand):
			return true, err
		case time.Now().After(deadline):
			return true, &errors.Error{Kind: errors.ErrDeviceBusy, Op: "remove " + option + " " + name + " of VM", VM: p.vm(), Msg: "it is in use", Err: err}
		}
		found = true
		select {
		case <-time.After(freePause):
		case <-ctx.Done():
			return true, errors.Wrap(errors.ErrQMPTimeout, "remove "+option+" "+name+" of VM", p.vm(), context.Cause(ctx))
		}
	}
}

func (p plug) remove(ctx context.Context, option, name string) error {
	switch option {
	case partBlockdev:
		return p.change(ctx, "blockdev-del", map[string]any{"node-name": name})
	case partNetdev:
		return p.change(ctx, "netdev_del", map[string]any{"id": name})
	case partChardev:
		return p.change(ctx, "chardev-remove", map[string]any{"id": name})
	default:
		return p.change(ctx, "object-del", map[string]any{"id": name})
	}
}

// has reports whether QEMU has such a backend; always true for a netdev.
func (p plug) has(ctx context.Context, option, name string) (bool, error) {
	switch option {
	case partBlockdev:
		nodes, err := qom[[]struct {
			Name string `json:"node-name"`
		}](ctx, p, "query-named-block-nodes", map[string]any{"flat": true})
		return slices.ContainsFunc(nodes, func(n struct {
			Name string `json:"node-name"`
		}) bool {
			return n.Name == name
		}), err
	case partChardev:
		chardevs, err := qom[[]struct{ Label string }](ctx, p, "query-chardev", nil)
		return slices.ContainsFunc(chardevs, func(c struct{ Label string }) bool { return c.Label == name }), err
	case partObject:
		return p.exists(ctx, objects+name)
	default:
		return true, nil
	}
}

// clearLayers removes the nodes of the images that external snapshots have put over a disk:
// each when it is none's backing image any more, for in which order they lie is not known. The
// filter above them goes first.
func (p plug) clearLayers(ctx context.Context, id string) (found bool, err error) {
	nodes, err := qom[[]struct {
		Name string `json:"node-name"`
	}](ctx, p, "query-named-block-nodes", map[string]any{"flat": true})
	var layers []string
	for _, n := range nodes {
		if strings.HasPrefix(n.Name, LayerNodes(id)) && !strings.HasSuffix(n.Name, "-f") {
			layers = append(layers, n.Name)
		}
	}
	if err != nil || len(layers) == 0 {
		return false, err
	}
	if _, err := p.drop(ctx, partBlockdev, limitNode(id)); err != nil {
		return true, err
	}
	for deadline := time.Now().Add(freeTime); len(layers) > 0; {
		left := slices.DeleteFunc(slices.Clone(layers), func(name string) bool {
			err = p.remove(ctx, partBlockdev, name)
			return err == nil
		})
		if len(left) == len(layers) { // the device may be about to let go of the topmost
			if !errors.Is(err, errors.ErrQMPCommand) || time.Now().After(deadline) {
				return true, err
			}
			select {
			case <-time.After(freePause):
			case <-ctx.Done():
				return true, errors.Wrap(errors.ErrQMPTimeout, "remove the layers of "+id+" of VM", p.vm(), context.Cause(ctx))
			}
		}
		layers = left
	}
	return true, nil
}

// clear removes every backend that a device of this ID may have had. It goes on after
// one that can't be removed.
func (p plug) clear(ctx context.Context, id string) (found bool, err error) {
	found, err = p.clearLayers(ctx, id)
	errs := []error{err}
	for _, b := range []struct{ option, name string }{
		// From the top: a node goes with the one above, unless they were made apart.
		{partBlockdev, limitNode(id)}, {partBlockdev, id}, {partBlockdev, fileNode(id)},
		{partNetdev, id}, {partChardev, id}, {partObject, id}, {partObject, limitNode(id)},
	} {
		had, err := p.drop(ctx, b.option, b.name)
		found = found || had
		errs = append(errs, err)
	}
	return found, errors.Join(errs...)
}
