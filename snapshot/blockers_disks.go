package snapshot

import (
	"context"
	"fmt"
	"slices"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/storage"
	"github.com/maqet/maqet/vm"
)

const (
	fixRaw = "convert it to qcow2, or attach it read-only"
	// fixEncrypted: then the snapshot is in the encrypted image.
	fixEncrypted = "make the snapshot while the VM is not live"
	fixRawLive   = fixRaw + ", or make the snapshot without memory (DiskOnly)"
)

// internal says what keeps the disks of a VM that is not live from holding a snapshot.
func (s *search) internal(ctx context.Context, images []vm.Image) error {
	images = slices.DeleteFunc(images, func(img vm.Image) bool { return img.Ephemeral }) // there is none, each start makes it anew
	if len(images) == 0 {
		s.add("", "the VM has no disk that could hold a snapshot",
			"give it a qcow2 disk that is kept (Disk.Keep), or start it: a snapshot of a live VM has its memory, and needs no disk")
	}
	for _, img := range images {
		if img.Format != storage.FormatQcow2 {
			s.add(img.Name, "is "+img.Format+", and only qcow2 images hold snapshots", fixRaw)
			continue
		}
		if err := s.usable(ctx, img); err != nil {
			return err
		}
	}
	return nil
}

// usable says why an image of a VM that is not live can't be worked on. What is in use is said
// with who uses it.
func (s *search) usable(ctx context.Context, img vm.Image) error {
	_, err := s.keeper.images.Usable(ctx, img.Path, img.Format, true, keysOf(s.inst, img.Name)...)
	var bad *storage.ImageError
	switch {
	case err == nil:
	case ctx.Err() != nil:
		return err
	case errors.Is(err, errors.ErrImageNotFound) && img.Owned && (!errors.As(err, &bad) || bad.Path == img.Path):
		s.add(img.Name, "has no image yet", "start the VM once, which makes it")
	case errors.As(err, &bad):
		reason := bad.Problem(nil)
		if len(bad.Chain) > 1 {
			reason = fmt.Sprintf("stands on %q, which %s", bad.Path, reason)
		}
		s.add(img.Name, reason, bad.Fix)
	default:
		s.add(img.Name, err.Error(), "see to its image "+img.Path)
	}
	return nil
}

// encrypted reports whether a disk's images have a key.
func (s *search) encrypted(disk string) bool { return len(keysOf(s.inst, disk)) > 0 }

// external says what keeps the disks of a live VM from getting layers.
func (s *search) external(images []vm.Image) {
	if len(images) == 0 {
		s.add("", "the VM has no disk that is written", "make a snapshot with memory, which needs none")
	}
	for _, img := range images {
		if s.encrypted(img.Name) {
			s.add(img.Name, "is encrypted, and what is written after the snapshot would not be", fixEncrypted)
		}
	}
}
