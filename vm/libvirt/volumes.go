package libvirt

import (
	"context"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/digitalocean/go-libvirt"
	"libvirt.org/go/libvirtxml"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/storage"
	"github.com/maqet/maqet/vm"
)

// volumePrefix begins the names of all volumes that maqet makes.
const volumePrefix = "maqet-"

// volumes makes, inspects and deletes images as storage volumes of a host. Each is registered
// before it is made, as storage.Manager does with files: only what is registered is ever deleted.
type volumes struct {
	b     *Backend
	pool  *pool
	files storage.Registry
	local *storage.Manager // looks at this host's files

	mu      sync.Mutex
	sums    map[fileID]string    // SHA-256 of files that were copied
	copying map[string]chan bool // copies under way, by SHA-256; closed when they end
}

var _ vm.ImageHost = (*Backend)(nil)

// HostImages implements vm.ImageHost. Guests of a local qemu:///session run as this user, and use
// files of this host; all others have volumes of Options.Pool.
func (b *Backend) HostImages() vm.HostImages {
	if b.volumes == nil {
		return nil
	}
	return b.volumes
}

func newVolumes(b *Backend) (*volumes, error) {
	// Nothing is made there: a root folder has to be named.
	local, err := storage.NewManager(storage.Options{Root: b.opts.LogDir, Logger: b.log})
	if err != nil {
		return nil, err
	}
	return &volumes{b: b, pool: newPool(b.host, b.opts.Pool), files: b.opts.Files, local: local,
		sums: map[fileID]string{}, copying: map[string]chan bool{}}, nil
}

// ImagePath implements vm.HostImages.
func (v *volumes) ImagePath(ctx context.Context, id, name string) (string, error) {
	folder, err := v.pool.folder(ctx)
	if err != nil {
		return "", err
	}
	return path.Join(folder, volumePrefix+id+"-"+name), nil
}

// ImageSize implements vm.HostImages.
func (v *volumes) ImageSize(ctx context.Context, path string) (int64, error) {
	desc, err := v.find(ctx, path)
	if err != nil {
		return 0, err
	}
	return fileSize(desc), nil
}

// fileSize is the size of the file, which for images that grow is not what the guest sees.
func fileSize(desc *libvirtxml.StorageVolume) int64 {
	if desc.Physical == nil {
		return 0
	}
	return int64(desc.Physical.Value)
}

// volumeAt describes a volume by its path.
func volumeAt(l *libvirt.Libvirt, path string) (libvirt.StorageVol, string, error) {
	vol, err := l.StorageVolLookupByPath(path)
	if err != nil {
		return vol, "", err
	}
	xml, err := l.StorageVolGetXMLDesc(vol, 0)
	return vol, xml, err
}

// find describes the volume at a path; errors.ErrImageNotFound where there is none.
func (v *volumes) find(ctx context.Context, file string) (*libvirtxml.StorageVolume, error) {
	op := "find volume " + file
	xml, err := ask(ctx, v.b.host.call, op, "", func(l *libvirt.Libvirt) (string, error) {
		_, xml, err := volumeAt(l, file)
		return xml, err
	})
	if isAnswer(err) { // the pool does not run, or somebody has changed its folder by other means
		if !v.refresh(ctx, file) {
			return nil, v.missing(file, err)
		}
		xml, err = ask(ctx, v.b.host.call, op, "", func(l *libvirt.Libvirt) (string, error) {
			_, xml, err := volumeAt(l, file)
			return xml, err
		})
	}
	switch {
	case hasCode(err, libvirt.ErrNoStorageVol, libvirt.ErrNoStoragePool):
		return nil, v.missing(file, err)
	case err != nil:
		return nil, err
	}
	desc := new(libvirtxml.StorageVolume)
	return desc, errors.Wrap(errors.ErrStorage, op, "", desc.Unmarshal(xml))
}

func (v *volumes) missing(file string, err error) error {
	return &errors.Error{Kind: errors.ErrImageNotFound, Op: "find volume " + file,
		Msg: "no storage pool of " + v.b.host.endpoint.String() + " has it", Err: err}
}

// refresh has libvirt look at the pool's folder again, if the file would be in it.
func (v *volumes) refresh(ctx context.Context, file string) bool {
	folder, err := v.pool.folder(ctx)
	if err != nil || path.Dir(file) != folder {
		return false
	}
	v.pool.stale()
	err = v.b.host.call(ctx, "refresh storage pool", "", func(l *libvirt.Libvirt) error {
		dom, err := l.StoragePoolLookupByName(v.pool.name)
		if err != nil {
			return err
		}
		if active, err := l.StoragePoolIsActive(dom); err != nil || active == 0 {
			return errors.Join(err, l.StoragePoolCreate(dom, libvirt.StoragePoolCreateWithBuild))
		}
		return l.StoragePoolRefresh(dom, 0)
	})
	return err == nil
}

// Create implements vm.Images.
func (v *volumes) Create(ctx context.Context, spec storage.CreateSpec) (storage.Image, error) {
	if spec.Format == "" {
		spec.Format = storage.FormatQcow2
	}
	img := storage.Image{Path: spec.Path, Format: spec.Format, Size: spec.Size}
	op := "create volume " + spec.Path
	err := v.plain(op, spec.Encryption)
	if err == nil {
		err = v.make(ctx, purposed(spec.For, storage.KindDisk), img)
	}
	return img, errors.Wrap(errors.ErrImageCreation, op, "", err)
}

// Overlay implements vm.Images. A base that is a file of this host is copied first.
func (v *volumes) Overlay(ctx context.Context, spec storage.OverlaySpec) (storage.Image, error) {
	op := "create volume " + spec.Path + " over " + spec.Base
	img := storage.Image{Path: spec.Path, Format: storage.FormatQcow2, Size: spec.Size, BaseFormat: spec.BaseFormat}
	err := v.plain(op, spec.Encryption)
	if err == nil {
		img.Base, err = v.Stage(ctx, spec.Base, spec.BaseFormat)
	}
	if err == nil && img.Size == 0 {
		img.Size, err = v.virtualSize(ctx, spec.Base, img.Base, spec.BaseFormat)
	}
	if err == nil {
		err = v.make(ctx, purposed(spec.For, storage.KindOverlay), img)
	}
	return img, errors.Wrap(errors.ErrImageCreation, op, "", err)
}

// virtualSize is what a guest sees of a base. Of a raw image that is the file; libvirt guesses
// formats, and a guest decides what a raw image begins with.
func (v *volumes) virtualSize(ctx context.Context, given, staged, format string) (int64, error) {
	if given != staged { // the copy of a local file
		layers, err := v.local.Usable(ctx, given, format, false)
		if err != nil {
			return 0, err
		}
		return layers[0].Size, nil
	}
	desc, err := v.find(ctx, staged)
	if err != nil {
		return 0, err
	}
	return seenSize(desc, format), nil
}

func seenSize(desc *libvirtxml.StorageVolume, format string) int64 {
	if format == storage.FormatRaw || desc.Capacity == nil {
		return fileSize(desc)
	}
	return int64(desc.Capacity.Value)
}

func (v *volumes) plain(op string, encryption *storage.Encryption) error {
	if encryption == nil {
		return nil
	}
	return &errors.Error{Kind: errors.ErrInvalidConfiguration, Op: op, Msg: "encrypted images are not made on libvirt hosts",
		Hint: "leave key_file out"}
}

func purposed(f storage.For, kind storage.FileKind) storage.For {
	if f.Kind == "" {
		f.Kind = kind
	}
	return f
}

// make makes a volume of the pool, which must not exist.
func (v *volumes) make(ctx context.Context, purpose storage.For, img storage.Image) error {
	desc := libvirtxml.StorageVolume{Name: path.Base(img.Path),
		Allocation: &libvirtxml.StorageVolumeSize{Unit: "bytes"},
		Capacity:   &libvirtxml.StorageVolumeSize{Unit: "bytes", Value: uint64(img.Size)},
		Target: &libvirtxml.StorageVolumeTarget{Format: &libvirtxml.StorageVolumeTargetFormat{Type: img.Format},
			Permissions: &libvirtxml.StorageVolumeTargetPermissions{Mode: "0600"}}}
	if img.Base != "" {
		desc.BackingStore = &libvirtxml.StorageVolumeBackingStore{Path: img.Base,
			Format: &libvirtxml.StorageVolumeTargetFormat{Type: img.BaseFormat}}
	}
	return v.place(ctx, purpose, img, desc, nil)
}

// place registers a volume, makes it, and lets fill write it. When that fails nothing is left.
func (v *volumes) place(ctx context.Context, purpose storage.For, img storage.Image, desc libvirtxml.StorageVolume,
	fill func(context.Context, libvirt.StorageVol) error) error {
	if err := v.vacant(ctx, img.Path); err != nil {
		return err
	}
	xml, err := desc.Marshal()
	if err != nil {
		return err
	}
	in, err := v.pool.use(ctx)
	if err != nil {
		return err
	}
	row := storage.File{Path: v.key(img.Path), Host: v.b.opts.Name, Owner: purpose.Owner, Disk: purpose.Disk, Kind: purpose.Kind,
		Format: img.Format, Size: img.Size, Base: v.key(img.Base), Created: time.Now().UTC(), Unfinished: true}
	if err := v.files.PutFile(ctx, row); err != nil {
		return err
	}
	vol, err := ask(ctx, v.b.host.longCall, "create volume", "", func(l *libvirt.Libvirt) (libvirt.StorageVol, error) {
		return l.StorageVolCreateXML(in, xml, 0)
	})
	if isAnswer(err) { // nothing was made
		v.pool.stale()
		return errors.Join(err, v.files.DropFile(context.WithoutCancel(ctx), row.Path))
	}
	if err == nil && fill != nil {
		err = fill(ctx, vol)
	}
	if err == nil {
		row.Unfinished = false
		err = v.files.PutFile(ctx, row)
	}
	if err != nil {
		// A volume that a call makes which was given up stays registered, as unfinished.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTime)
		defer cancel()
		return errors.Join(err, v.drop(ctx, img.Path))
	}
	return nil
}

// vacant fails if there is a volume.
func (v *volumes) vacant(ctx context.Context, file string) error {
	_, err := v.find(ctx, file)
	switch {
	case errors.Is(err, errors.ErrImageNotFound):
		return nil
	case err != nil:
		return err
	}
	return &errors.Error{Kind: errors.ErrImageCreation, Op: "create volume", Msg: "volume " + file + " exists already",
		Hint: "look at it with virsh -c '" + v.b.host.endpoint.String() + "' vol-dumpxml " + file + ", and delete or rename it"}
}

// key is what a volume is registered as: hosts have volumes of the same paths.
func (v *volumes) key(file string) string {
	if file == "" {
		return ""
	}
	return v.b.opts.Name + ":" + file
}

// Files implements vm.Images.
func (v *volumes) Files(ctx context.Context, f storage.FileFilter) ([]storage.File, error) {
	f.Path, f.Base = v.key(f.Path), v.key(f.Base)
	list, err := v.files.Files(ctx, f)
	list = slices.DeleteFunc(list, func(f storage.File) bool { return f.Host != v.b.opts.Name })
	for i := range list {
		f := &list[i]
		f.Path, f.Base = strings.TrimPrefix(f.Path, v.b.opts.Name+":"), strings.TrimPrefix(f.Base, v.b.opts.Name+":")
	}
	return list, errors.Wrap(errors.ErrStorage, "list registered volumes", "", err)
}

// Delete implements vm.Images.
func (v *volumes) Delete(ctx context.Context, file string) error {
	op := "delete volume " + file
	known, err := v.Files(ctx, storage.FileFilter{Path: file})
	if err != nil {
		return err
	}
	if len(known) == 0 {
		if _, err := v.find(ctx, file); errors.Is(err, errors.ErrImageNotFound) {
			return nil
		} else if err != nil {
			return err
		}
		return errors.Wrap(errors.ErrStorage, op, "", storage.ErrUnregistered)
	}
	over, err := v.Files(ctx, storage.FileFilter{Base: file})
	if err != nil {
		return err
	}
	for _, f := range over {
		if f.Owner != known[0].Owner {
			return errors.Wrap(errors.ErrImageInUse, op, "", errors.New("volume "+f.Path+" stands on it"))
		}
	}
	if err := v.drop(ctx, file); err != nil {
		return err
	}
	return errors.Wrap(errors.ErrStorage, op, "", v.files.DropFile(ctx, v.key(file)))
}

// drop deletes a volume that is registered. One that is gone is no error.
func (v *volumes) drop(ctx context.Context, file string) error {
	if !strings.HasPrefix(path.Base(file), volumePrefix) { // whatever the registry says
		return errors.Wrap(errors.ErrStorage, "delete volume "+file, "", storage.ErrUnregistered)
	}
	if _, err := v.find(ctx, file); errors.Is(err, errors.ErrImageNotFound) {
		return nil
	} else if err != nil {
		return err
	}
	err := v.b.host.call(ctx, "delete volume "+file, "", func(l *libvirt.Libvirt) error {
		vol, err := l.StorageVolLookupByPath(file)
		if err != nil {
			return err
		}
		return l.StorageVolDelete(vol, libvirt.StorageVolDeleteNormal)
	})
	if hasCode(err, libvirt.ErrNoStorageVol) {
		return nil
	}
	return err
}
