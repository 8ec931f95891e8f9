package storage

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"

	"github.com/maqet/maqet/errors"
)

// FormatError is an image that does not have the format that was stated. Its kind is
// errors.ErrStorage.
type FormatError struct {
	Path   string
	Stated string // FormatRaw or FormatQcow2
	Found  string // what the file's first bytes say: "qcow2", "vmdk", ..., or "raw" when nothing is known
}

// Error names the image and both formats.
func (e *FormatError) Error() string {
	return fmt.Sprintf("image %q is stated to be %s, but its first bytes say %s (set the format to %s, or convert it)",
		e.Path, e.Stated, e.Found, e.Found)
}

// Unwrap returns errors.ErrStorage.
func (e *FormatError) Unwrap() error { return errors.ErrStorage }

// magics are the first bytes of image formats, as QEMU's block drivers probe them.
var magics = []struct{ bytes, format string }{
	{"QFI\xfb", FormatQcow2},
	{"QED\x00", "qed"},
	{"KDMV", "vmdk"},
	{"COWD", "vmdk"},
	{"vhdxfile", "vhdx"},
	{"conectix", "vpc"},
	{"LUKS\xba\xbe", "luks"},
}

// Inspect checks that the image at path exists, has the stated format and can be
// read, and returns what it is. It does not disturb a guest that uses the image.
//
// A missing image, or one whose base is missing, is errors.ErrImageNotFound; another
// format is a [*FormatError]; what is not a regular file, can't be read or is damaged
// is errors.ErrStorage. Symbolic links are followed.
func (m *Manager) Inspect(ctx context.Context, path, format string) (Image, error) {
	img, err := m.inspect(ctx, path, format)
	kind := errors.ErrStorage
	if errors.Is(err, errors.ErrImageNotFound) {
		kind = errors.ErrImageNotFound
	}
	return img, errors.Wrap(kind, "inspect image "+quote(path), "", err)
}

func (m *Manager) inspect(ctx context.Context, path, format string) (Image, error) {
	if err := ctx.Err(); err != nil {
		return Image{}, err
	}
	path, err := absolute(path)
	if err == nil {
		err = checkFormat(format)
	}
	if err != nil {
		return Image{}, err
	}
	img, err := examine(path, format)
	if err != nil || format == FormatRaw {
		return img, err
	}
	return m.inspectQcow2(ctx, img)
}

// examine looks at the file itself. O_NONBLOCK keeps a FIFO from hanging it.
func examine(path, format string) (Image, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return Image{}, &errors.Error{Kind: errors.ErrImageNotFound, Err: err}
	}
	if err != nil {
		return Image{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return Image{}, err
	}
	if !info.Mode().IsRegular() {
		return Image{}, errors.New("it is " + describe(info.Mode()))
	}
	found, err := magic(f)
	if err != nil {
		return Image{}, err
	}
	if found != format {
		return Image{}, &FormatError{Path: path, Stated: format, Found: found}
	}
	return Image{Path: path, Format: format, Size: info.Size(), Allocated: allocated(info)}, nil
}

// magic returns what the first bytes of r say about its format.
func magic(r io.Reader) (string, error) {
	head := make([]byte, 8)
	n, err := io.ReadFull(r, head)
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return "", err
	}
	for _, m := range magics {
		if strings.HasPrefix(string(head[:n]), m.bytes) {
			return m.format, nil
		}
	}
	return FormatRaw, nil
}

// imageInfo is the part of "qemu-img info --output=json" that is used (QEMU QMP
// Reference Manual, ImageInfo).
type imageInfo struct {
	VirtualSize   int64  `json:"virtual-size"`
	ActualSize    int64  `json:"actual-size"`
	Backing       string `json:"backing-filename"`
	FullBacking   string `json:"full-backing-filename"`
	BackingFormat string `json:"backing-filename-format"`
}

// inspectQcow2 completes img. -U reads the image also while a guest writes to it.
func (m *Manager) inspectQcow2(ctx context.Context, img Image) (Image, error) {
	out, err := m.runner.Run(ctx, "info", "--output=json", "-U", "-f", FormatQcow2, "--", img.Path)
	if err != nil {
		return Image{}, err
	}
	var info imageInfo
	if err := json.Unmarshal(out, &info); err != nil {
		return Image{}, fmt.Errorf("what qemu-img says of it can't be read: %w", err)
	}
	img.Size, img.Allocated = info.VirtualSize, info.ActualSize
	img.Base, img.BaseFormat = info.Backing, info.BackingFormat
	if strings.HasPrefix(info.FullBacking, "/") { // else another protocol than plain files
		img.Base = info.FullBacking
		if _, err := os.Stat(img.Base); errors.Is(err, fs.ErrNotExist) {
			return Image{}, &errors.Error{Kind: errors.ErrImageNotFound, Op: "find its base", Err: err}
		}
	}
	return img, nil
}
