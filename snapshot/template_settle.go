package snapshot

import (
	"context"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/storage"
	"github.com/maqet/maqet/vm"
)

// settle makes what the guest has left a template: its disks, its memory and what it kept
// besides. The template is there when its folder has its name.
func (c *capturing) settle(ctx context.Context) error {
	if fenced, err := c.ended(ctx); err != nil || !fenced {
		return errors.Join(err, errNotFenced(fenced))
	}
	for _, part := range []func(context.Context) error{c.disks, c.keepMemory, c.publish} {
		if err := part(ctx); err != nil {
			return err
		}
	}
	return nil
}

func errNotFenced(fenced bool) error {
	if fenced {
		return nil
	}
	return errors.New("somebody else has started the VM again")
}

// disks makes the images that the guest wrote the template's bases.
func (c *capturing) disks(ctx context.Context) error {
	var layers []vm.Layer
	var old []string // names by which images were the VM's
	images := c.r.Images()
	for i := range c.rec.Config.Disks {
		img := images[i]
		if img.Path == "" || img.ReadOnly {
			continue
		}
		c.keeper.step(ctx, "capture: disk "+img.Name)
		base, layer, err := c.disk(ctx, img)
		if err != nil {
			return errors.Wrap(errors.ErrStorage, "disk "+img.Name, "", err)
		}
		if img.Owned {
			old = append(old, img.Path)
		}
		if layer != "" {
			layers = append(layers, vm.Layer{Disk: img.Name, Path: layer})
		}
		d := &c.rec.Config.Disks[i]
		d.Name, d.Path, d.Base, d.Format, d.Size, d.Keep = img.Name, "", base, vm.FormatQcow2, 0, nil
	}
	err := c.r.Update(ctx, func(i *vm.Instance) {
		i.ImagesKept, i.Unclean, i.Snapshot = false, false, ""
		i.Layers = append(i.Layers, layers...)
	})
	if err != nil {
		return err
	}
	// Only now: until then the VM's disks were these.
	for _, path := range old {
		c.keeper.step(ctx, "capture: hand over "+path)
		if err := c.t.images.Delete(ctx, path); err != nil {
			return err
		}
	}
	return nil
}

// disk makes an image the template's: one that maqet made gets its name, one of the user's stays,
// below an image of the template's. What does not vanish with the guest goes on in a new layer.
func (c *capturing) disk(ctx context.Context, img vm.Image) (base, layer string, err error) {
	base = filepath.Join(c.t.images.Root(), c.rec.ID, img.Name+".qcow2")
	purpose := storage.For{Owner: c.rec.ID, Disk: img.Name}
	below, format := img.Path, img.Format
	if img.Owned {
		below, format = base, vm.FormatQcow2
		_, err = c.t.images.Link(ctx, storage.LinkSpec{Path: img.Path, To: base, For: purpose})
	} else {
		_, err = c.t.images.Overlay(ctx, storage.OverlaySpec{Path: base, Base: below, BaseFormat: format, For: purpose})
	}
	if err != nil || img.Ephemeral {
		return base, "", err
	}
	layer = newLayer(c.r)
	_, err = c.t.images.Overlay(ctx, storage.OverlaySpec{Path: layer, Base: below, BaseFormat: format,
		For: storage.For{Owner: c.inst.ID, Disk: img.Name, Kind: storage.KindLayer}})
	return base, layer, err
}

// keepMemory keeps the guest's memory: as it is, unchangeable, as long as this process lives, or
// in a file.
func (c *capturing) keepMemory(ctx context.Context) error {
	if c.memory == nil {
		return nil
	}
	if c.rec.Lifetime == vm.Persistent {
		return c.writeMemory(ctx)
	}
	if err := seal(c.memory); err != nil {
		return err
	}
	var err error
	if c.rec.RAM, err = identify(c.memory); err != nil {
		return err
	}
	c.rec.RAMFD = int(c.memory.Fd())
	if err := c.t.keep(c.rec.ID, c.memory); err != nil {
		return err
	}
	c.memory = nil
	return nil
}

func (c *capturing) writeMemory(ctx context.Context) (err error) {
	from, err := identify(c.memory)
	if err != nil {
		return err
	}
	file, err := os.OpenFile(filepath.Join(c.dir, ramFile), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if err = file.Truncate(from.Size); err == nil {
		err = copySparse(ctx, file, c.memory, from.Size)
	}
	if err == nil {
		c.rec.RAM, err = identify(file)
	}
	return err
}

// extras copies what the guest kept besides its disks.
func (c *capturing) extras() error {
	for _, part := range []struct {
		from, name string
		has        *bool
	}{{c.inst.Runtime.NVRAM, nvramFile, &c.rec.NVRAM}, {c.inst.Runtime.Seed, seedFile, &c.rec.Seed}} {
		if part.from == "" {
			continue
		}
		if err := copyPart(filepath.Join(c.dir, part.name), part.from); err != nil {
			return err
		}
		*part.has = true
	}
	return nil
}

func copyPart(to, from string) (err error) {
	in, err := os.OpenFile(from, os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	_, err = io.Copy(out, in)
	return err
}

// publish gives the template its name.
func (c *capturing) publish(ctx context.Context) error {
	c.keeper.step(ctx, "capture: publish")
	if err := c.rec.write(c.dir); err != nil {
		return err
	}
	if err := os.Remove(filepath.Join(c.dir, makerLock)); err != nil {
		return err
	}
	if err := os.Rename(c.dir, c.t.folder(c.rec.Name)); err != nil {
		return errors.Join(err, c.t.forget(c.rec.ID))
	}
	return nil
}
