package storage

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
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

// Inspect checks that the image at path exists, has the stated format and can be read,
// and so does every image below it, and returns what it is. It reads heads of files, and
// does not disturb a guest that uses the image.
//
// Errors are an [*ImageError]: a missing image, or one below it that is missing, is
// errors.ErrImageNotFound; another format is a [*FormatError], too; what is neither a
// regular file nor a block device, can't be read or is damaged is errors.ErrStorage. So is
// a base whose format is not stated, because QEMU would guess it, and one that is no file.
// Symbolic links are followed.
func (m *Manager) Inspect(ctx context.Context, path, format string) (Image, error) {
	img, err := m.inspect(ctx, path, format)
	kind := errors.ErrStorage
	if errors.Is(err, errors.ErrImageNotFound) {
		kind = errors.ErrImageNotFound
	}
	return img, errors.Wrap(kind, "inspect image "+quote(path), "", err)
}

func (m *Manager) inspect(ctx context.Context, path, format string) (Image, error) {
	layers, err := walk(ctx, path, format)
	if err != nil {
		return Image{}, err
	}
	return layers[0].Image, nil
}

// layer is an image of a chain, with its head if it is a qcow2.
type layer struct {
	Image
	head qcow2
}

// maxChain is how many images can lie over each other.
const maxChain = 200

// walk looks at an image and those below it, the topmost first.
func walk(ctx context.Context, path, format string) (layers []layer, err error) {
	path, err = absolute(path)
	if err != nil {
		return nil, &ImageError{Kind: errors.ErrStorage, Path: path, Msg: "can't be looked at: " + err.Error(), Err: err}
	}
	if err := checkFormat(format); err != nil {
		return nil, &ImageError{Kind: errors.ErrStorage, Path: path, Msg: "can't be looked at: " + err.Error(), Err: err}
	}
	var chain []string
	for path != "" {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		chain = append(chain, path)
		l, fault := examine(path, format)
		if fault == nil && (len(chain) > maxChain || slices.Contains(chain[:len(chain)-1], path)) {
			fault = &ImageError{Kind: errors.ErrStorage, Msg: "is below itself, or below too many others",
				Fix: `give it the right base with "qemu-img rebase -u"`}
		}
		if fault != nil {
			return nil, fault.at(chain)
		}
		layers = append(layers, l)
		path, format = l.Base, l.BaseFormat
	}
	return layers, nil
}

// at completes the error for the last image of a chain.
func (e *ImageError) at(chain []string) *ImageError {
	e.Path, e.Chain = chain[len(chain)-1], slices.Clone(chain)
	return e
}

// openImage opens a file to look at it. O_NONBLOCK keeps a FIFO from hanging it.
func openImage(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
}

// examine looks at one file.
func examine(path, format string) (layer, *ImageError) {
	f, err := openImage(path)
	if err != nil {
		if info, statErr := os.Stat(path); statErr == nil && info.Mode()&fs.ModeSocket != 0 { // which can't be opened
			return layer{}, notAnImage(info.Mode())
		}
		return layer{}, unopened("read", err)
	}
	defer f.Close()
	img, fault := measure(f)
	if fault != nil {
		return layer{}, fault
	}
	found, err := magic(f)
	if err != nil {
		return layer{}, unopened("read", err)
	}
	if found != format {
		cause := &FormatError{Path: path, Stated: format, Found: found}
		return layer{}, &ImageError{Kind: errors.ErrStorage, Err: cause,
			Msg: fmt.Sprintf("is stated to be %s, but its first bytes say %s", format, found), Fix: "state that format, or convert it"}
	}
	img.Path, img.Format = path, format
	if format == FormatRaw {
		return layer{Image: img}, nil
	}
	return withHead(img, f)
}

// unopened is an image that can't be read, or written.
func unopened(how string, err error) *ImageError {
	e := &ImageError{Kind: errors.ErrStorage, Msg: fmt.Sprintf("can't be %s: %v", how, plainCause(err)), Err: err}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		e.Kind, e.Msg, e.Fix = errors.ErrImageNotFound, "does not exist", "correct the path, or bring the image back"
	case errors.Is(err, fs.ErrPermission):
		e.Fix = "give this user the right to"
	}
	return e
}

// plainCause is what went wrong with a file, without its name, which is said anyway.
func plainCause(err error) error {
	if path := (*fs.PathError)(nil); errors.As(err, &path) {
		return path.Err
	}
	return err
}

// measure returns the sizes of a regular file or block device.
func measure(f *os.File) (Image, *ImageError) {
	info, err := f.Stat()
	if err != nil {
		return Image{}, unopened("read", err)
	}
	switch mode := info.Mode(); {
	case mode.IsRegular():
		return Image{Size: info.Size(), Allocated: allocated(info)}, nil
	case mode&fs.ModeDevice != 0 && mode&fs.ModeCharDevice == 0:
		size, err := f.Seek(0, io.SeekEnd)
		if err != nil {
			return Image{}, unopened("read", err)
		}
		return Image{Size: size, Allocated: size, Device: true}, nil
	default:
		return Image{}, notAnImage(mode)
	}
}

func notAnImage(mode fs.FileMode) *ImageError {
	return &ImageError{Kind: errors.ErrStorage, Msg: "is " + describe(mode), Fix: "give the path of an image"}
}

// withHead completes a qcow2 image.
func withHead(img Image, f *os.File) (layer, *ImageError) {
	head, err := readQcow2(f)
	if err != nil {
		return layer{}, &ImageError{Kind: errors.ErrStorage, Msg: err.Error(), Fix: `see what "qemu-img check" makes of it`, Err: err}
	}
	img.Size, img.Encrypted = head.size, head.cipher != 0
	img.BaseFormat = head.format
	if img.Base, err = head.base(img.Path); err != nil {
		return layer{}, &ImageError{Kind: errors.ErrStorage, Msg: fmt.Sprintf("has a base, %q, that %v", head.backing, err),
			Fix: `copy it into one image with "qemu-img convert"`}
	}
	if img.Base == "" {
		img.BaseFormat = ""
		return layer{img, head}, nil
	}
	if err := checkFormat(img.BaseFormat); err != nil {
		e := &ImageError{Kind: errors.ErrStorage, Msg: fmt.Sprintf("has a base, %q, whose %v", head.backing, err),
			Fix: `copy it into one image with "qemu-img convert"`}
		if head.format == "" {
			e.Msg = fmt.Sprintf("has a base, %q, and does not say which format that has", head.backing)
			e.Fix = "say it with \"qemu-img rebase -u -f qcow2 -F FORMAT -b BASE IMAGE\""
		}
		return layer{}, e
	}
	return layer{img, head}, nil
}

// magic returns what the first bytes of r say about its format.
func magic(r io.ReaderAt) (string, error) {
	head := make([]byte, 8)
	n, err := r.ReadAt(head, 0)
	if err != nil && err != io.EOF {
		return "", err
	}
	for _, m := range magics {
		if strings.HasPrefix(string(head[:n]), m.bytes) {
			return m.format, nil
		}
	}
	return FormatRaw, nil
}
