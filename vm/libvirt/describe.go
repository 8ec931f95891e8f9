package libvirt

import (
	"context"

	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/internal/guestview"
	"github.com/maqet/maqet/vm"
)

// described is a guest as libvirt is told of it.
type described struct {
	// xml may have the password of a display: it must not be logged.
	xml     string
	runtime vm.Runtime
	cards   []guestview.Card
}

// describe makes the description of a guest, whose files are on its host by now, and what it
// refers to: texts in files, keys. undo takes those back.
func (b *Backend) describe(ctx context.Context, spec vm.LaunchSpec) (d described, undo func(context.Context) error, err error) {
	f, err := b.host.facts(ctx, spec.Config)
	if err != nil {
		return d, nil, err
	}
	cards := guestview.Cards(spec.Config, spec.Unplugged)
	if f.sameHost {
		if err := guestview.CheckForwards(ctx, cards); err != nil {
			return d, nil, err
		}
	}
	// First without what is made here: so there is nothing to take back of a guest that can't be.
	dom, err := domainOf(spec, f.rehearsing(spec.Config))
	if err != nil {
		return d, nil, err
	}
	if f.blobs, err = b.writeBlobs(f, spec); err != nil {
		return d, nil, err
	}
	undoBlobs := func(context.Context) error { return b.removeBlobs(spec.ID) }
	undoSecrets, err := b.lendSecrets(ctx, spec)
	if err != nil {
		return d, nil, errors.Join(err, undoBlobs(ctx))
	}
	undo = func(ctx context.Context) error { return errors.Join(undoSecrets(ctx), undoBlobs(ctx)) }
	dom, err = domainOf(spec, f)
	if err == nil {
		d.xml, err = dom.Marshal()
	}
	if err != nil {
		return d, nil, errors.Join(err, undo(context.WithoutCancel(ctx)))
	}
	if text, err := shown(dom); err == nil {
		b.log.DebugContext(ctx, "domain described", "vm", spec.Config.Name, "xml", text)
	}
	d.cards = cards
	d.runtime = vm.Runtime{Backend: b.opts.Name, Accel: f.accel(), Machine: f.machine, Boot: spec.Boot, NVRAM: spec.NVRAM, Seed: spec.Seed,
		Disks: slices.Clone(spec.Images), Cards: guestview.CardRecords(spec.Config, spec.Unplugged, spec.ID)}
	b.complete(&d.runtime, spec)
	return d, undo, nil
}

// blobSuffix is how the names of files with texts for a guest end, in the VM's folder.
const blobSuffix = ".blob"

// writeBlobs writes texts for a guest into files, by the fields that blobsOf has. When it fails
// none is left.
func (b *Backend) writeBlobs(f facts, spec vm.LaunchSpec) (paths map[string]string, err error) {
	paths = map[string]string{}
	for i, text := range blobsOf(spec.Config) {
		if text.file != "" || !f.inPlace {
			continue
		}
		path := filepath.Join(b.logDir(spec.ID), fmt.Sprint(i, blobSuffix))
		if err = writePrivate(path, text.text); err != nil {
			return nil, errors.Join(fmt.Errorf("%s: %w", text.field, err), b.removeBlobs(spec.ID))
		}
		paths[text.field] = path
	}
	return paths, nil
}

// writePrivate makes a file that nobody else can read.
func writePrivate(path, text string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	_, err = file.WriteString(text)
	return errors.Join(err, file.Close())
}

// removeBlobs removes the files with texts for a guest.
func (b *Backend) removeBlobs(id string) error {
	paths, err := filepath.Glob(filepath.Join(b.logDir(id), "[0-9]*"+blobSuffix))
	errs := []error{err}
	for _, path := range paths {
		if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
