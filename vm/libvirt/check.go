package libvirt

import (
	"context"

	"github.com/maqet/maqet/vm"
)

// Check implements vm.Backend: what a guest of cfg needs and libvirt, or its host, has not is
// an *errors.ConfigError with each field.
func (b *Backend) Check(ctx context.Context, id string, cfg vm.Config) error {
	f, err := b.host.facts(ctx, cfg)
	if err != nil {
		return err
	}
	_, err = domainOf(rehearsal(id, cfg), f.rehearsing(cfg))
	return err
}

// rehearsal is the specification of a start whose boot files and images are not known yet.
func rehearsal(id string, cfg vm.Config) vm.LaunchSpec {
	spec := vm.LaunchSpec{ID: id, Config: cfg, Seed: "/seed"}
	for i, d := range cfg.Disks {
		spec.Images = append(spec.Images, vm.Image{Name: d.NameAt(i), Path: "/image", Format: vm.FormatRaw})
	}
	if !cfg.FromDisk() {
		spec.Boot = vm.BootFiles{Kernel: "/kernel", Initrd: "/initrd", Default: true}
	}
	return spec
}

// rehearsing returns facts in which every blob is where it will be.
func (f facts) rehearsing(cfg vm.Config) facts {
	f.blobs = map[string]string{}
	for _, b := range blobsOf(cfg) {
		f.blobs[b.field] = "/blob"
	}
	return f
}
