package storage

import (
	"context"
	"os"
	"syscall"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/internal/imagelock"
)

// Usable checks that a guest can use the image at path now, and returns it and those below
// it, the topmost first. Beyond what [Manager.Inspect] finds, that is: QEMU can work with
// its features without another file, this user may write to it if write is true, and nobody
// else uses it so that QEMU would refuse it: errors.ErrImageInUse. A block device that is to
// be written must not be mounted or otherwise taken by the host.
//
// One that is encrypted can be used only if keys has the secret of it; whether it is the right
// one is for QEMU to find out.
//
// A qemu-img that uses it is waited for, for up to a second: it may have been killed, and end
// only now.
//
// Errors are an [*ImageError]. What is found holds until somebody changes it: QEMU has the
// last word.
func (m *Manager) Usable(ctx context.Context, path, format string, write bool, keys ...Secret) ([]Image, error) {
	layers, err := usableLayers(ctx, path, format, write, len(keys) > 0)
	if err != nil {
		return nil, err
	}
	images := make([]Image, len(layers))
	for i, l := range layers {
		images[i] = l.Image
	}
	return images, nil
}

func usableLayers(ctx context.Context, path, format string, write, keyed bool) ([]layer, error) {
	layers, err := walk(ctx, path, format)
	if err != nil {
		return nil, err
	}
	var chain []string
	for i, l := range layers {
		chain = append(chain, l.Path)
		look := func() *ImageError { return l.usable(write && i == 0, keyed) }
		fault := look()
		if fault != nil {
			fault = outlive(ctx, fault, look)
		}
		if fault != nil {
			return nil, fault.at(chain)
		}
	}
	return layers, nil
}

func (l layer) usable(write, keyed bool) *ImageError {
	if msg, fix := l.head.usable(keyed); msg != "" {
		return &ImageError{Kind: errors.ErrStorage, Msg: msg, Fix: fix}
	}
	if write {
		if fault := l.writable(); fault != nil {
			return fault
		}
	}
	return l.unused(write)
}

// unused says who uses the image so that it can't be read, or written.
func (l layer) unused(write bool) *ImageError {
	e := &ImageError{Kind: errors.ErrImageInUse}
	switch use := imagelock.Of(l.Path); {
	case use == imagelock.Writing && write:
		e.Msg, e.Fix = "is being written", "stop what writes it, or give each VM an overlay of its own (base instead of path)"
	case use == imagelock.Writing:
		e.Msg, e.Fix = "is being written", "stop what writes it first: who reads it meanwhile reads nonsense"
	case use == imagelock.Reading && write:
		e.Msg, e.Fix = "is in use", "stop what uses it, or write to an overlay (base instead of path)"
	default:
		return nil
	}
	e.Holders = imagelock.Holders(l.Path)
	return e
}

// writable opens the image as QEMU would. With O_EXCL, which has this meaning for block
// devices only, one that the host uses is refused (open(2)).
func (l layer) writable() *ImageError {
	flags := os.O_RDWR | syscall.O_NONBLOCK
	if l.Device {
		flags |= os.O_EXCL
	}
	f, err := os.OpenFile(l.Path, flags, 0)
	switch {
	case l.Device && errors.Is(err, syscall.EBUSY):
		return &ImageError{Kind: errors.ErrImageInUse, Msg: "is mounted, or otherwise in use by this host", Err: err,
			Fix: "unmount it, or attach it read-only"}
	case err != nil:
		fault := unopened("written", err)
		fault.Fix = "let this user write it, attach it read-only, or write to an overlay (base instead of path)"
		return fault
	}
	if err := f.Close(); err != nil { // nothing was written
		return unopened("written", err)
	}
	return nil
}
