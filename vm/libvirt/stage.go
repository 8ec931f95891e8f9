package libvirt

import (
	"context"
	"os"
	"path"
	"path/filepath"

	"github.com/digitalocean/go-libvirt"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/storage"
	"github.com/maqet/maqet/vm"
)

// stage makes the files of a launch available on the host. The result has the host's paths. They
// are copies that also other guests use: there is nothing to take back. Disks and the image for
// cloud-init are there already: see vm.HostImages.
func (b *Backend) stage(ctx context.Context, spec vm.LaunchSpec) (vm.LaunchSpec, error) {
	if b.volumes == nil {
		return spec, nil
	}
	files := []*string{&spec.Boot.Kernel, &spec.Boot.Initrd}
	if path.IsAbs(spec.Boot.Firmware) { // else it is the name of a file that QEMU has
		files = append(files, &spec.Boot.Firmware)
	}
	for _, file := range files {
		if *file == "" {
			continue
		}
		staged, err := b.volumes.Stage(ctx, *file, storage.FormatRaw)
		if err != nil {
			return spec, errors.Wrap(errors.ErrVMStart, "launch VM", spec.Config.Name, err)
		}
		*file = staged
	}
	return spec, nil
}

// ISO implements vm.Images. It is made here, and copied.
func (v *volumes) ISO(ctx context.Context, spec storage.ISOSpec) (_ storage.Image, err error) {
	op := "create volume " + spec.Path
	fail := func(err error) (storage.Image, error) {
		return storage.Image{}, errors.Wrap(errors.ErrImageCreation, op, "", err)
	}
	dir, err := os.MkdirTemp("", "maqet-iso-")
	if err != nil {
		return fail(err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	maker, err := storage.NewManager(storage.Options{Root: dir})
	if err != nil {
		return fail(err)
	}
	local := spec
	local.Path = filepath.Join(dir, "iso")
	img, err := maker.ISO(ctx, local)
	if err != nil {
		return fail(err)
	}
	f, err := os.Open(img.Path)
	if err != nil {
		return fail(err)
	}
	defer f.Close()
	id, err := identify(f)
	if err != nil {
		return fail(err)
	}
	img.Path = spec.Path
	err = v.place(ctx, purposed(spec.For, storage.KindISO), img, emptyVolume(path.Base(spec.Path)),
		func(ctx context.Context, vol libvirt.StorageVol) error {
			return v.upload(ctx, vol, f, spec.Path, id.size)
		})
	if err != nil {
		return fail(err)
	}
	return img, nil
}
