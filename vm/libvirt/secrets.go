package libvirt

import (
	"context"
	"fmt"
	"slices"

	"github.com/digitalocean/go-libvirt"
	"github.com/google/uuid"
	"libvirt.org/go/libvirtxml"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/storage"
	"github.com/maqet/maqet/vm"
)

// secretID is the UUID of the libvirt secret that opens the images of a disk: the same at each
// start.
func secretID(id, disk string) string {
	return uuid.NewSHA1(uuid.NameSpaceURL, []byte(metadataURI+"/"+id+"/"+disk)).String()
}

// secret is a key of a disk's images.
type secret struct{ id, disk, field, file string }

// secretsOf returns the keys that a VM has, also those of disks that are unplugged.
func secretsOf(id string, cfg vm.Config) (list []secret) {
	for i, d := range cfg.Disks {
		if d.KeyFile != "" {
			name := d.NameAt(i)
			list = append(list, secret{id: secretID(id, name), disk: name, field: fmt.Sprintf("disks[%d].key_file", i), file: d.KeyFile})
		}
	}
	return list
}

// lendSecrets gives libvirt the keys of the disks that a guest has. It keeps them in memory, and
// gives them to nobody but QEMU (libvirt, "Secret XML", ephemeral and private). undo takes them
// away again.
func (b *Backend) lendSecrets(ctx context.Context, spec vm.LaunchSpec) (undo func(context.Context) error, err error) {
	undo = func(ctx context.Context) error { return b.takeSecrets(ctx, spec.ID, spec.Config) }
	for _, s := range secretsOf(spec.ID, spec.Config) {
		if slices.Contains(spec.Unplugged, s.disk) {
			continue
		}
		if err := b.lend(ctx, spec.Config.Name, s); err != nil {
			return nil, errors.Join(err, undo(context.WithoutCancel(ctx)))
		}
	}
	return undo, nil
}

func (b *Backend) lend(ctx context.Context, name string, s secret) error {
	text, err := (&libvirtxml.Secret{Ephemeral: "yes", Private: "yes", UUID: s.id, Description: "maqet " + name + " " + s.disk}).Marshal()
	if err != nil {
		return err
	}
	value, err := storage.Secret{File: s.file}.Read()
	var bad *storage.SecretError
	if errors.As(err, &bad) {
		return &errors.ConfigError{Kind: errors.ErrInvalidConfiguration, VM: name,
			Problems: []errors.Problem{{Field: s.field, Value: s.file, Message: bad.Msg, Fix: bad.Fix, Err: bad}}}
	}
	if err != nil {
		return err
	}
	return b.host.call(ctx, "hand over the key of disk "+s.disk, name, func(l *libvirt.Libvirt) error {
		defer clear(value)
		made, err := l.SecretDefineXML(text, 0)
		if err == nil {
			err = l.SecretSetValue(made, value, 0)
		}
		return err
	})
}

// takeSecrets has libvirt forget the keys of a VM. It asks nothing where there are none.
func (b *Backend) takeSecrets(ctx context.Context, id string, cfg vm.Config) error {
	var errs []error
	for _, s := range secretsOf(id, cfg) {
		u, err := domainUUID(s.id, cfg.Name)
		if err == nil {
			err = b.host.call(ctx, "take back the key of disk "+s.disk, cfg.Name, func(l *libvirt.Libvirt) error {
				return l.SecretUndefine(libvirt.Secret{UUID: u})
			})
		}
		if !hasCode(err, libvirt.ErrNoSecret) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
