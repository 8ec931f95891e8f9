package vm

import (
	"context"
	"os"
	"path/filepath"

	"github.com/maqet/maqet/errors"
)

// ImageHost is a [Backend] whose guests read and write their images on a host of their own: they
// are made, looked at and deleted there.
type ImageHost interface {
	// HostImages returns who does that. Nil: guests use the files of this host.
	HostImages() HostImages
}

// HostImages are the images on the host of a backend. Paths are that host's; where there is
// nothing at the path of an image that is only read, and this host has such a file, that one is
// meant.
type HostImages interface {
	Images
	imagePlace
	// Stage makes sure that guests can read an image of a format, which is at path there or
	// here, and returns its path on that host. What it copies there can be of use again, and
	// is not of the VM's.
	Stage(ctx context.Context, path, format string) (string, error)
}

// imagePlace is where the images of VMs are made.
type imagePlace interface {
	// ImagePath returns where a file of the VM with this ID is made. A name is "disk0.qcow2", say.
	ImagePath(ctx context.Context, id, name string) (string, error)
	// ImageSize returns how many bytes the file at path has; errors.ErrImageNotFound when there
	// is none.
	ImageSize(ctx context.Context, path string) (int64, error)
}

// hostImages returns who makes a backend's images, nil if they are files of this host.
func hostImages(b Backend) HostImages {
	if h, ok := b.(ImageHost); ok {
		return h.HostImages()
	}
	return nil
}

// imagesOf returns the keeper of the images that guests of a backend use.
func (m *Manager) imagesOf(b Backend) *imageKeeper {
	host := hostImages(b)
	if host == nil {
		return m.images
	}
	return &imageKeeper{images: host, store: m.store, place: host, host: host}
}

// localPlace is a folder of this host, with a folder for each VM in it.
type localPlace string

func (d localPlace) ImagePath(_ context.Context, id, name string) (string, error) {
	return d.path(id, name), nil
}

func (d localPlace) path(id, name string) string { return filepath.Join(string(d), id, name) }

// ImageSize does not follow symbolic links: what they lead to was not made here.
func (d localPlace) ImageSize(_ context.Context, path string) (int64, error) {
	info, err := os.Lstat(path)
	switch {
	case err != nil:
		return 0, errors.Wrap(errors.ErrImageNotFound, "", "", err)
	case !info.Mode().IsRegular():
		return max(1, info.Size()), nil // no file that has yet to be filled
	}
	return info.Size(), nil
}

// hostedImages returns what is planned with the paths that the images of the last guest had on
// its host.
func hostedImages(planned []Image, inst Instance) []Image {
	for n := range planned {
		img := &planned[n]
		if !img.Owned {
			continue
		}
		img.Path = ""
		for _, had := range inst.Runtime.Disks {
			if had.Name == img.Name && had.Owned {
				img.Path = had.Path
			}
		}
	}
	return planned
}
