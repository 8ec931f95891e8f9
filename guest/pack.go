package guest

import (
	"archive/tar"
	"context"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// pack writes what lies at root, under the given name, as a tar stream. It follows no
// link, leaves out what means nothing on another machine, and ends soon after ctx.
func pack(ctx context.Context, to io.Writer, format tar.Format, root, name string) error {
	out := packer{ctx, tar.NewWriter(to), format}
	err := filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		rel, err := filepath.Rel(root, file)
		if err != nil {
			return err
		}
		return out.entry(file, path.Join(name, filepath.ToSlash(rel)))
	})
	if err != nil {
		return err
	}
	return out.tar.Close()
}

type packer struct {
	ctx    context.Context
	tar    *tar.Writer
	format tar.Format
}

func (p packer) entry(file, name string) error {
	info, err := os.Lstat(file)
	if err != nil {
		return err
	}
	switch {
	case info.Mode().IsRegular():
		return p.file(file, name)
	case info.IsDir():
		return p.tar.WriteHeader(p.header(info, name+"/", tar.TypeDir))
	case info.Mode()&fs.ModeSymlink != 0:
		h := p.header(info, name, tar.TypeSymlink)
		if h.Linkname, err = os.Readlink(file); err != nil {
			return err
		}
		return p.tar.WriteHeader(h)
	default: // a socket, a device, a named pipe
		return nil
	}
}

// file opens the file before it looks at it, so that what is described is what is
// read. O_NONBLOCK keeps a FIFO that took its place from hanging the copy.
func (p packer) file(file, name string) error {
	f, err := os.OpenFile(file, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return &fs.PathError{Op: "copy", Path: file, Err: errNotCopied}
	}
	h := p.header(info, name, tar.TypeReg)
	h.Size = info.Size()
	if err := p.tar.WriteHeader(h); err != nil {
		return err
	}
	// A file that grows meanwhile is copied as long as it was.
	n, err := io.Copy(p.tar, contextReader{p.ctx, io.LimitReader(f, h.Size)})
	if err == nil && n < h.Size {
		err = &fs.PathError{Op: "copy", Path: file, Err: io.ErrUnexpectedEOF}
	}
	return err
}

func (p packer) header(info fs.FileInfo, name string, kind byte) *tar.Header {
	return &tar.Header{
		Typeflag: kind,
		Name:     name,
		Mode:     int64(info.Mode().Perm()) | specialBits(info.Mode()),
		ModTime:  info.ModTime(),
		Format:   p.format,
	}
}

// specialBits are the mode bits that Go keeps elsewhere than Unix does (inode(7)).
func specialBits(mode fs.FileMode) (bits int64) {
	for flag, bit := range map[fs.FileMode]int64{fs.ModeSetuid: 0o4000, fs.ModeSetgid: 0o2000, fs.ModeSticky: 0o1000} {
		if mode&flag != 0 {
			bits |= bit
		}
	}
	return bits
}
