package libvirt

import (
	"context"
	"io/fs"
	"os"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/storage"
)

// Usable implements vm.Images. Images are volumes of any pool of the host; one that is only read
// can also be a file of this host, which [volumes.Stage] copies. Who uses a volume is not known
// here: QEMU refuses one that somebody else writes.
func (v *volumes) Usable(ctx context.Context, file, format string, write bool, keys ...storage.Secret) ([]storage.Image, error) {
	var layers []storage.Image
	var chain []string
	for path, stated := file, format; path != ""; {
		chain = append(chain, path)
		img, err := v.look(ctx, path, stated)
		switch {
		case errors.Is(err, errors.ErrImageNotFound) && len(layers) == 0:
			return v.usableHere(ctx, file, format, write, keys)
		case errors.Is(err, errors.ErrImageNotFound):
			return layers, nil // QEMU may have it all the same
		case err != nil:
			return nil, err
		}
		if fault := unlike(img, stated); fault != nil {
			fault.Path, fault.Chain = path, chain
			return nil, fault
		}
		img.Format = stated
		layers = append(layers, img)
		path, stated = img.Base, img.BaseFormat
	}
	return layers, nil
}

// look describes a volume, in the format that libvirt takes it for.
func (v *volumes) look(ctx context.Context, file, stated string) (storage.Image, error) {
	desc, err := v.find(ctx, file)
	if err != nil {
		return storage.Image{}, err
	}
	img := storage.Image{Path: file, Size: seenSize(desc, stated), Device: desc.Type == "block"}
	if desc.Allocation != nil {
		img.Allocated = int64(desc.Allocation.Value)
	}
	if t := desc.Target; t != nil {
		img.Encrypted = t.Encryption != nil
		if t.Format != nil {
			img.Format = t.Format.Type
		}
	}
	// What a raw image says of a base is the guest's.
	if b := desc.BackingStore; b != nil && stated == storage.FormatQcow2 {
		img.Base = b.Path
		if b.Format != nil {
			img.BaseFormat = b.Format.Type
		}
	}
	return img, nil
}

// unlike compares what an image is with what it is stated to be. A raw one can look like any.
func unlike(img storage.Image, stated string) *storage.ImageError {
	switch {
	case stated == storage.FormatQcow2 && img.Format != storage.FormatQcow2:
		return &storage.ImageError{Kind: errors.ErrStorage, Msg: "is stated to be qcow2, and is " + img.Format, Fix: "set the disk's format"}
	case img.Encrypted:
		return &storage.ImageError{Kind: errors.ErrStorage, Msg: "is encrypted, which is not done on libvirt hosts", Fix: "decrypt it with qemu-img convert"}
	}
	return nil
}

// usableHere is for what no pool of the host has.
func (v *volumes) usableHere(ctx context.Context, file, format string, write bool, keys []storage.Secret) ([]storage.Image, error) {
	_, err := os.Stat(file)
	if errors.Is(err, fs.ErrNotExist) || err == nil && write && !v.b.host.local() {
		bad := &storage.ImageError{Kind: errors.ErrImageNotFound, Path: file, Chain: []string{file},
			Msg: "is in no storage pool of " + v.b.host.endpoint.String(),
			Fix: "give the path of a volume there, and refresh its pool if it is new (virsh pool-refresh)"}
		if err == nil {
			bad.Fix = "use it as a base instead, which is copied there, or upload it (virsh vol-upload)"
		}
		return nil, bad
	}
	layers, err := v.local.Usable(ctx, file, format, write, keys...)
	if err == nil && len(layers) > 1 && !write {
		return nil, &storage.ImageError{Kind: errors.ErrStorage, Path: file, Chain: []string{file},
			Msg: "stands on " + layers[1].Path + ", and is to be copied to " + v.b.host.endpoint.String(),
			Fix: "make an image of its own of it (qemu-img convert)"}
	}
	return layers, err
}
