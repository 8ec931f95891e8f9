package storage

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/internal/imagelock"
)

// partialSuffix is what the name of a file ends in while it is filled.
const partialSuffix = ".partial"

// production is an image that takes long to make. It is filled under a name of its own, which
// is registered before it has any content, and gets its own name when it is whole: whatever
// interrupts it, that name is of a whole image or of none. What a killed process leaves is a
// registered file that is Unfinished and that nobody has locked, under one of both names:
// [Manager.Orphans] lists it, and who makes that image again takes it away.
type production struct {
	m    *Manager
	root *os.Root
	rel  string   // the image, relative to root
	file *os.File // what is filled
}

// produce makes an image below the root folder: fill turns an empty file into it. It fails
// if there is something at path. When it fails, or ctx ends, nothing is left. What the image
// is, is read from the file; img says it beforehand, and which format it has.
func (m *Manager) produce(ctx context.Context, path string, purpose For, img Image, fill func(*os.File) error) (_ Image, err error) {
	p, err := m.beginProduction(ctx, path)
	if err != nil {
		return Image{}, err
	}
	defer p.close()
	err = p.reclaim(ctx, p.rel)
	if err == nil {
		err = p.fill(ctx, purpose, img, fill)
	}
	if err == nil {
		img, err = p.look(img.Format)
	}
	if err == nil {
		err = p.publish(ctx, purpose.file(img.Path, img))
	}
	if err != nil {
		return Image{}, errors.Join(err, p.abandon(ctx))
	}
	m.log.DebugContext(ctx, "image made", "path", img.Path, "format", img.Format, "size", img.Size, "base", img.Base)
	return img, nil
}

// beginProduction opens an empty file for the image at path to be made in.
func (m *Manager) beginProduction(ctx context.Context, path string) (_ *production, err error) {
	rel, err := m.local(path)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(m.root, 0o700); err != nil {
		return nil, err
	}
	p := &production{m: m, rel: rel}
	if p.root, err = os.OpenRoot(m.root); err != nil { // which no symbolic link below it can lead out of
		return nil, err
	}
	if err := p.open(ctx); err != nil {
		prune(p.root, filepath.Dir(rel))
		p.close()
		return nil, err
	}
	return p, nil
}

// open makes the file to fill and locks it.
func (p *production) open(ctx context.Context) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		file, err := makeFile(p.root, p.partial())
		if errors.Is(err, fs.ErrExist) {
			if err := p.reclaim(ctx, p.partial()); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return err
		}
		err = imagelock.ExcludeFile(file)
		if err == nil && imagelock.Current(file, file.Name()) {
			p.file = file
			return nil
		}
		_ = file.Close() // nothing was written
		if err != nil && !errors.Is(err, imagelock.ErrHeld) {
			return errors.Join(err, removeIfThere(p.root, p.partial()))
		}
		// Before it was locked, somebody took it for what a killed process left: he goes first.
	}
}

// reclaim removes what a killed process left at name: an unfinished image, or an empty file if it
// had not come to register it yet. It fails if it is anything else, with fs.ErrExist.
func (p *production) reclaim(ctx context.Context, name string) error {
	path := filepath.Join(p.m.root, name)
	known, err := p.m.files.Files(ctx, FileFilter{Path: path})
	if err != nil {
		return err
	}
	info, err := p.root.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	left := len(known) > 0 && known[0].Unfinished || len(known) == 0 && info.Size() == 0 && name != p.rel
	if !info.Mode().IsRegular() || !left {
		return &fs.PathError{Op: "make", Path: path, Err: fs.ErrExist}
	}
	hold, err := excluded(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer hold.Release()
	p.m.log.InfoContext(ctx, "partial image of an interrupted operation removed", "path", path)
	return removeIfThere(p.root, name)
}

// fill registers the file and has it filled.
func (p *production) fill(ctx context.Context, purpose For, img Image, fill func(*os.File) error) error {
	row := purpose.file(p.file.Name(), img)
	row.Unfinished = true
	if err := p.m.files.PutFile(ctx, row); err != nil {
		return err
	}
	return fill(p.file)
}

// look returns what the file has become, as the image that it will be.
func (p *production) look(format string) (Image, error) {
	l, fault := examine(p.file.Name(), format)
	if fault != nil {
		return Image{}, fault.at([]string{p.file.Name()})
	}
	l.Path = filepath.Join(p.m.root, p.rel)
	return l.Image, nil
}

// publish gives the file its name. A placeholder keeps that from replacing what somebody else
// has put there meanwhile.
func (p *production) publish(ctx context.Context, row File) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	ctx = context.WithoutCancel(ctx) // from here on it is quicker to finish than to undo
	holder, err := p.root.OpenFile(p.rel, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_ = holder.Close()    // nothing was written
	row.Unfinished = true // until the file is there: killed now, this leaves an empty one
	err = p.m.files.PutFile(ctx, row)
	if err == nil {
		err = p.root.Rename(p.partial(), p.rel)
	}
	if err == nil {
		row.Unfinished = false
		err = p.m.files.PutFile(ctx, row)
	}
	if err != nil {
		return errors.Join(err, removeIfThere(p.root, p.rel), p.m.forget(ctx, row.Path))
	}
	p.forget(ctx)
	return nil
}

// replace puts the file in place of the image that is there, which the caller keeps others off.
// What was written is on the disk before: otherwise a crash of the host could leave neither.
func (p *production) replace(ctx context.Context) error {
	if err := p.file.Sync(); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := p.root.Rename(p.partial(), p.rel); err != nil {
		return err
	}
	p.forget(context.WithoutCancel(ctx))
	return nil
}

// forget takes the partial name out of the registry. The image is there, whatever comes of it.
func (p *production) forget(ctx context.Context) {
	if err := p.m.forget(ctx, p.file.Name()); err != nil {
		p.m.log.WarnContext(ctx, "partial image stays registered, though it is whole and has its own name now",
			"path", p.file.Name(), "error", err)
	}
}

// abandon removes the file.
func (p *production) abandon(ctx context.Context) error {
	err := errors.Join(removeIfThere(p.root, p.partial()), p.m.forget(ctx, p.file.Name()))
	prune(p.root, filepath.Dir(p.rel))
	return err
}

// close lets go of the files.
func (p *production) close() {
	if p.file != nil {
		_ = p.file.Close() // whoever wrote to it has looked at the error
	}
	_ = p.root.Close() // it was only looked into
}

func (p *production) partial() string { return p.rel + partialSuffix }
