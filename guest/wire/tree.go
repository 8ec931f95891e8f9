package wire

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"path/filepath"
	"strings"
)

// PutTree unpacks a tar stream below a folder of the guest, which is created
// when it does not exist. It takes folders, files, symbolic and hard links with
// their permissions and modification times; what is unpacked belongs to root.
// Files and links that exist are replaced, folders are kept. An entry named "."
// sets the folder's own permissions.
//
// An entry that would leave guestDir (an absolute name, "..", a way through a
// symbolic link that points outside) is an error, and so are devices, sockets
// and named pipes. What was unpacked before an error stays.
func (s *Session) PutTree(ctx context.Context, guestDir string, tarStream io.Reader) error {
	if tarStream == nil {
		return errors.New("wire: put tree: no tar stream is given")
	}
	e := &encoder{}
	e.string(guestDir)
	_, err := s.do(ctx, request{
		op:   opPutTree,
		args: e.b,
		send: func(out *Out) error { return sendTar(out, tar.NewReader(tarStream)) },
	})
	return err
}

func sendTar(out *Out, tr *tar.Reader) error {
	for {
		hdr, err := tr.Next()
		if err == io.EOF {
			return SendEnd(out)
		}
		if err != nil {
			return fmt.Errorf("wire: put tree: read the tar stream: %w", err)
		}
		if hdr.Typeflag == tar.TypeXGlobalHeader {
			continue
		}
		e, err := entryOf(hdr)
		if err == nil {
			err = e.Send(out)
		}
		if err == nil && e.Kind == EntryFile {
			err = out.CopyN(tr, e.Size)
		}
		if err != nil {
			return fmt.Errorf("wire: put tree: %s: %w", hdr.Name, err)
		}
	}
}

// entryOf translates a tar header.
func entryOf(hdr *tar.Header) (Entry, error) {
	e := Entry{
		Name:    path.Clean(hdr.Name),
		Mode:    hdr.FileInfo().Mode(),
		ModTime: hdr.ModTime,
		Link:    hdr.Linkname,
	}
	switch hdr.Typeflag {
	case tar.TypeReg:
		e.Kind, e.Size = EntryFile, hdr.Size
	case tar.TypeDir:
		e.Kind = EntryDir
	case tar.TypeSymlink:
		e.Kind = EntrySymlink
	case tar.TypeLink:
		e.Kind, e.Link = EntryHardLink, path.Clean(hdr.Linkname)
		if !filepath.IsLocal(e.Link) {
			return e, errors.New("the link's target is outside the tree")
		}
	default:
		return e, fmt.Errorf("tar entry of type %q: %w", hdr.Typeflag, errors.ErrUnsupported)
	}
	if !filepath.IsLocal(hdr.Name) {
		return e, errors.New("the entry is outside the tree")
	}
	return e, nil
}

// GetTree writes a guest file or folder as a tar stream to w. For a folder the
// first entry is "./" and the names of all others are relative to it; for a file
// the only entry has the file's base name. A symbolic link as guestPath is
// followed, those below it travel as links. Files with several hard links
// travel as separate files; devices, sockets and named pipes are left out. A file
// that shrinks while it is read is an error.
func (s *Session) GetTree(ctx context.Context, guestPath string, w io.Writer) error {
	if w == nil {
		return errors.New("wire: get tree: no writer is given")
	}
	e := &encoder{}
	e.string(guestPath)
	_, err := s.do(ctx, request{
		op:   opGetTree,
		args: e.b,
		recv: [2]func(*In) error{func(in *In) error { return receiveTar(in, tar.NewWriter(w)) }},
	})
	return err
}

func receiveTar(in *In, tw *tar.Writer) error {
	for {
		e, err := ReceiveEntry(in)
		if err == io.EOF {
			return tw.Close()
		}
		if err != nil {
			return err
		}
		hdr := headerOf(e)
		if err := tw.WriteHeader(hdr); err != nil {
			return fmt.Errorf("wire: get tree: %s: %w", e.Name, err)
		}
		if err := in.CopyN(tw, e.Size); err != nil {
			return fmt.Errorf("wire: get tree: %s: %w", e.Name, err)
		}
	}
}

// headerOf translates to a tar header. The PAX format keeps long names and
// fractions of seconds.
func headerOf(e Entry) *tar.Header {
	hdr := &tar.Header{
		Format:   tar.FormatPAX,
		Typeflag: tar.TypeReg,
		Name:     e.Name,
		Linkname: e.Link,
		Mode:     tarMode(e),
		ModTime:  e.ModTime,
		Size:     e.Size,
	}
	switch e.Kind {
	case EntryDir:
		hdr.Typeflag, hdr.Name = tar.TypeDir, strings.TrimSuffix(e.Name, "/")+"/"
	case EntrySymlink:
		hdr.Typeflag = tar.TypeSymlink
	case EntryHardLink:
		hdr.Typeflag = tar.TypeLink
	}
	return hdr
}

// tarMode is the numeric mode that tar records, with the special bits at
// their Unix places.
func tarMode(e Entry) int64 {
	mode := int64(e.Mode.Perm())
	for i, bit := range []fs.FileMode{fs.ModeSticky, fs.ModeSetgid, fs.ModeSetuid} {
		if e.Mode&bit != 0 {
			mode |= 0o1000 << i
		}
	}
	return mode
}
