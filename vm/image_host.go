package vm

import "context"

// ImageHost is a [Backend] whose guests read and write their images on a host of their own: they
// are made, looked at and deleted there.
type ImageHost interface {
	// HostImages returns who does that. Nil: guests use the files of this host.
	HostImages() HostImages
}

// HostImages are the images on the host of a backend. Paths are that host's.
type HostImages interface {
	Images
	// ImagePath returns where the image of a disk of the VM with this ID is made.
	ImagePath(id, disk string) string
	// ImageSize returns how many bytes the file at path has; errors.ErrImageNotFound when there
	// is none.
	ImageSize(ctx context.Context, path string) (int64, error)
}
