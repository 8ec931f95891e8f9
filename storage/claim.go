package storage

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/internal/imagelock"
)

// claim is an image that an operation has for itself, against others of maqet in all
// processes. QEMU programs keep each other off by locks of their own: who finds an image free
// here, and meets one after all, fails as the second of two.
type claim struct {
	layers []layer // the image and those below it, the topmost first
	hold   *imagelock.Hold
}

// release ends the claim. It is idempotent.
func (c *claim) release() { c.hold.Release() }

// toWrite claims an image to have it written: nobody else uses it, no registered image stands
// on it, and nobody begins to make one.
func (m *Manager) toWrite(ctx context.Context, path, format string) (*claim, error) {
	layers, err := usableLayers(ctx, path, format, true, false)
	if err != nil {
		return nil, err
	}
	return m.exclude(ctx, layers)
}

// exclude claims the first of some layers, which have been looked at. Beyond what QEMU minds,
// nobody may have the image open: QEMU programs read a raw one without minding who writes.
func (m *Manager) exclude(ctx context.Context, layers []layer, except ...string) (*claim, error) {
	path := layers[0].Path
	if err := closed(path); err != nil {
		return nil, err
	}
	hold, err := excluded(path)
	if err != nil {
		return nil, err
	}
	c := &claim{layers: layers, hold: hold}
	if err := m.noOverlays(ctx, path, except...); err != nil {
		c.release()
		return nil, err
	}
	return c, nil
}

// closed fails if a QEMU program has the image open.
func closed(path string) error {
	if !imagelock.Open(path) {
		return nil
	}
	return (&ImageError{Kind: errors.ErrImageInUse, Msg: "is in use", Holders: imagelock.Holders(path),
		Fix: "stop what uses it, or write to an overlay"}).at([]string{path})
}

func excluded(path string) (*imagelock.Hold, error) { return held(path, imagelock.Exclude) }

// shared claims an image for somebody who makes one that stands on it.
func shared(path string) (*imagelock.Hold, error) { return held(path, imagelock.Share) }

// reading claims an image for somebody who reads it without a QEMU program.
func reading(path string) (*imagelock.Hold, error) { return held(path, imagelock.Read) }

// readingAll claims an image and those below it: a QEMU program that reads them does not keep
// others from writing to raw ones.
func readingAll(layers []layer) (release func(), err error) {
	var holds []*imagelock.Hold
	release = func() {
		for _, h := range holds {
			h.Release()
		}
	}
	for _, l := range layers {
		h, err := reading(l.Path)
		if err != nil {
			release()
			return nil, err
		}
		holds = append(holds, h)
	}
	return release, nil
}

// heirTime is how long a claim may outlive who made it: a child between fork and exec has the
// files of its parent, and with them its locks. That it is over is no event.
const (
	heirTime  = 50 * time.Millisecond
	heirPause = 5 * time.Millisecond
)

func held(path string, take func(string) (*imagelock.Hold, error)) (*imagelock.Hold, error) {
	hold, err := take(path)
	for begun := time.Now(); errors.Is(err, imagelock.ErrHeld) && time.Since(begun) < heirTime; {
		time.Sleep(heirPause)
		hold, err = take(path)
	}
	if errors.Is(err, imagelock.ErrHeld) {
		return nil, (&ImageError{Kind: errors.ErrImageInUse, Msg: "is being worked on", Holders: imagelock.Holders(path),
			Fix: "wait until that is done", Err: err}).at([]string{path})
	}
	if err != nil {
		return nil, unopened("opened", err).at([]string{path})
	}
	return hold, nil
}

// noOverlays refuses an image that registered images stand on, but for some. One whose file
// is gone stands on nothing.
func (m *Manager) noOverlays(ctx context.Context, path string, except ...string) error {
	overlays, err := m.overlays(ctx, path)
	if err != nil {
		return err
	}
	var left []string
	for _, f := range overlays {
		if !slices.ContainsFunc(except, func(e string) bool { return sameFile(e, f.Path) }) {
			left = append(left, f.Path)
		}
	}
	if len(left) == 0 {
		return nil
	}
	return (&ImageError{Kind: errors.ErrImageInUse, Msg: "is the base of", Overlays: left,
		Fix: "write to an overlay of it, or rebase or delete those first"}).at([]string{path})
}

// noForeignOverlays refuses an image that somebody else's stands on. What the same VM has goes
// together, in whatever order.
func (m *Manager) noForeignOverlays(ctx context.Context, file File) error {
	overlays, err := m.overlays(ctx, file.Path)
	if err != nil {
		return err
	}
	var own []string
	for _, f := range overlays {
		if f.Owner == file.Owner && f.Owner != "" {
			own = append(own, f.Path)
		}
	}
	return m.noOverlays(ctx, file.Path, own...)
}

// overlays returns the registered images that are there and stand on the one at path.
func (m *Manager) overlays(ctx context.Context, path string) ([]File, error) {
	names := []string{path}
	if resolved, err := filepath.EvalSymlinks(path); err == nil && resolved != path {
		names = append(names, resolved) // bases are registered as what links lead to
	}
	var out []File
	for _, name := range names {
		files, err := m.files.Files(ctx, FileFilter{Base: name})
		if err != nil {
			return nil, err
		}
		for _, f := range files {
			if _, err := os.Lstat(f.Path); !errors.Is(err, fs.ErrNotExist) {
				out = append(out, f)
			}
		}
	}
	return out, nil
}

// blame says of an operation that failed who uses the image now, if somebody does: he began
// after the image was found free.
func blame(l layer, write bool, err error) error {
	if err == nil || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	if fault := l.unused(write); fault != nil {
		fault.Err = err
		return fault.at([]string{l.Path})
	}
	return err
}

// storageError wraps err, if it is one, as the narrowest kind of errors.ErrStorage that it is.
func storageError(op string, err error) error {
	kind := errors.ErrStorage
	for _, k := range []*errors.Kind{errors.ErrImageInUse, errors.ErrImageNotFound} {
		if errors.Is(err, k) {
			kind = k
		}
	}
	return errors.Wrap(kind, op, "", err)
}

// footing is a base that something is about to be made to stand on.
type footing struct {
	path string // what symbolic links lead to: later they could lead to other data
	hold *imagelock.Hold
}

func (f footing) release() { f.hold.Release() }

// standOn claims the base of an image that is about to be made, until that is registered.
func standOn(base string) (footing, error) {
	path, err := filepath.EvalSymlinks(base)
	if err != nil {
		return footing{}, err
	}
	hold, err := shared(path)
	return footing{path, hold}, err
}
