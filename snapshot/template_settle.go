package snapshot

import (
	"context"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/maqet/maqet/errors"
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

// keepMemory keeps the memory of an ephemeral template as it is, unchangeable, as long as this
// process lives. No QEMU must have it any more.
func (c *capturing) keepMemory(context.Context) (err error) {
	if c.rec.Lifetime == vm.Persistent {
		return nil // it was written
	}
	if c.memory != nil {
		if err := seal(c.memory); err != nil {
			return err
		}
		if c.rec.RAM, err = identify(c.memory); err != nil {
			return err
		}
		c.rec.RAMFD = int(c.memory.Fd())
	}
	if err := c.t.keep(c.rec.ID, c.memory); err != nil {
		return err
	}
	c.memory = nil
	return nil
}

// writeMemory copies the memory of a guest that stands still into a file of a persistent
// template: a disk that is full must not cost the guest.
func (c *capturing) writeMemory(ctx context.Context) (err error) {
	if c.memory == nil || c.rec.Lifetime != vm.Persistent {
		return nil
	}
	c.keeper.step(ctx, "capture: write memory")
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
		err = file.Sync() // after a power failure holes would look the same
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
	if err := os.Rename(c.dir, c.t.folder(c.rec.Name)); err != nil {
		return err
	}
	// Only now: a sweep would make a lock of its own in a folder without one, and delete all.
	if err := os.Remove(filepath.Join(c.t.folder(c.rec.Name), makerLock)); err != nil {
		c.log.WarnContext(ctx, "lock of a capture not removed", "template", c.rec.Name, "error", err) // nobody looks for it there
	}
	return nil
}
