package libvirt

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/digitalocean/go-libvirt"
	"golang.org/x/sys/unix"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/storage"
	"github.com/maqet/maqet/vm"
)

// blob is a text that QEMU reads from a file, so that nobody sees it on a command line. On
// the host it has a path that [facts].blobs has by its field.
type blob struct {
	field string
	file  string // of this host, with the text; empty: it is text
	text  string
}

// blobsOf returns what has to be in files on the guest's host before it starts.
func blobsOf(cfg vm.Config) []blob {
	var list []blob
	if cfg.Ignition != "" {
		list = append(list, blob{field: "ignition", file: cfg.Ignition})
	}
	for i, f := range cfg.FwCfg {
		list = append(list, blob{field: fmt.Sprintf("fw_cfg[%d]", i), file: f.File, text: f.Text})
	}
	for i, text := range cfg.SMBIOS.OEMStrings {
		list = append(list, blob{field: fmt.Sprintf("smbios.oem_strings[%d]", i), text: text})
	}
	return list
}

// blobName is the name of the file with the i-th blob of a VM.
func blobName(i int) string { return fmt.Sprint(i, ".blob") }

// writeBlobs puts blobs where QEMU can read them, and returns their paths by field: in the VM's
// folder, or in volumes of its own, which also a file is copied to. When it fails none is left.
func (b *Backend) writeBlobs(ctx context.Context, spec vm.LaunchSpec) (paths map[string]string, err error) {
	paths = map[string]string{}
	for i, text := range blobsOf(spec.Config) {
		var file string
		switch {
		case b.volumes != nil:
			file, err = b.volumes.putBlob(ctx, spec.ID, i, text)
		case text.file == "":
			file = filepath.Join(b.logDir(spec.ID), blobName(i))
			err = writePrivate(file, text.text)
		default:
			continue // it is used in place
		}
		if err != nil {
			return nil, errors.Join(fmt.Errorf("%s: %w", text.field, err), b.removeBlobs(context.WithoutCancel(ctx), spec.ID, spec.Config))
		}
		paths[text.field] = file
	}
	return paths, nil
}

// putBlob makes a volume with a blob. One that a launch that was killed has left is replaced.
func (v *volumes) putBlob(ctx context.Context, id string, i int, text blob) (string, error) {
	content := text.text
	if text.file != "" {
		data, err := os.ReadFile(text.file)
		if err != nil {
			return "", err
		}
		content = string(data)
	}
	file, err := v.ImagePath(ctx, id, blobName(i))
	if err != nil {
		return "", err
	}
	if err := v.Delete(ctx, file); err != nil {
		return "", err
	}
	img := storage.Image{Path: file, Format: storage.FormatRaw, Size: int64(len(content))}
	return file, v.place(ctx, storage.For{Owner: id, Kind: storage.KindDisk}, img, emptyVolume(path.Base(file)),
		func(ctx context.Context, vol libvirt.StorageVol) error {
			return v.upload(ctx, vol, strings.NewReader(content), file, int64(len(content)))
		})
}

// writePrivate makes a file that nobody else can read.
func writePrivate(file, text string) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	if err := ignore(os.Remove(file), fs.ErrNotExist); err != nil {
		return err
	}
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}

// removeBlobs removes what writeBlobs made for a VM. It asks nothing where it made nothing.
func (b *Backend) removeBlobs(ctx context.Context, id string, cfg vm.Config) error {
	var errs []error
	for i := range blobsOf(cfg) {
		if b.volumes == nil {
			errs = append(errs, ignore(os.Remove(filepath.Join(b.logDir(id), blobName(i))), fs.ErrNotExist))
			continue
		}
		file, err := b.volumes.ImagePath(ctx, id, blobName(i))
		if err == nil {
			err = b.volumes.Delete(ctx, file)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
