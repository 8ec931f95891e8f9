package libvirt

import (
	"context"
	"io"
	"os"
	"path"
	"strings"
	"time"

	"github.com/digitalocean/go-libvirt"
	"github.com/digitalocean/go-libvirt/socket/dialers"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/storage"
)

// adopt makes sure that this host has a file that another host's guests only read, and returns its
// path here. A copy of one of this process's files is known by its name; what else both hosts
// have under one path is taken for the same.
func (v *volumes) adopt(ctx context.Context, from *volumes, file string) (string, error) {
	name, ours := strings.CutPrefix(path.Base(file), contentPrefix)
	if !ours {
		_, err := v.find(ctx, file)
		return file, err
	}
	sum, _, _ := strings.Cut(name, "-")
	size, err := from.ImageSize(ctx, file)
	if err != nil {
		return "", err
	}
	release, err := v.claim(ctx, sum)
	if err != nil {
		return "", err
	}
	found, err := v.content(ctx, sum, size)
	release()
	if err != nil || found != "" {
		return found, err
	}
	err = from.fetched(ctx, file, func(f *os.File) error {
		found, err = v.stage(ctx, f.Name())
		return err
	})
	return found, err
}

// double makes a volume with the content of another host's.
func (v *volumes) double(ctx context.Context, from *volumes, file, to string, purpose storage.For) error {
	return from.fetched(ctx, file, func(f *os.File) error {
		id, err := identify(f)
		if err != nil {
			return err
		}
		return v.place(ctx, purpose, storage.Image{Path: to, Format: storage.FormatRaw, Size: id.size}, emptyVolume(path.Base(to)),
			func(ctx context.Context, vol libvirt.StorageVol) error { return v.upload(ctx, vol, f, to, id.size) })
	})
}

// fetched calls use with a temporary file that has the content of a volume.
func (v *volumes) fetched(ctx context.Context, file string, use func(*os.File) error) error {
	f, err := os.CreateTemp("", "maqet-volume-")
	if err != nil {
		return errors.Wrap(errors.ErrStorage, "copy volume "+file, "", err)
	}
	defer func() {
		_ = f.Close() // only read, as far as it matters
		_ = os.Remove(f.Name())
	}()
	err = v.download(ctx, file, f)
	if err == nil {
		err = v.complete(ctx, file, f)
	}
	if err == nil {
		err = use(f)
	}
	return errors.Wrap(errors.ErrStorage, "copy volume "+file, "", err)
}

// complete makes sure that all of a volume has come, and goes back to its beginning.
func (v *volumes) complete(ctx context.Context, file string, f *os.File) error {
	want, err := v.ImageSize(ctx, file)
	if err != nil {
		return err
	}
	got, err := f.Seek(0, io.SeekEnd)
	if err == nil && got != want {
		err = errors.New("it has another length than what was received")
	}
	if err != nil {
		return err
	}
	_, err = f.Seek(0, io.SeekStart)
	return err
}

// download writes a volume's content to a file, over a connection of its own. It ends with ctx, and
// when nothing has come for Options.Timeout.
func (v *volumes) download(ctx context.Context, file string, to io.Writer) error {
	conn, err := v.b.host.dial(ctx)
	if err != nil {
		return err
	}
	w := newWire(conn)
	defer context.AfterFunc(ctx, func() { w.fail(context.Cause(ctx)) })()
	limit := v.b.opts.Timeout
	alarm := time.AfterFunc(limit, func() { w.fail(errNoAnswer) })
	defer alarm.Stop()
	l := libvirt.NewWithDialer(dialers.NewAlreadyConnected(w))
	sink := &patientSink{w: to, taken: func() { alarm.Reset(limit) }}
	err = l.ConnectToURI(libvirt.ConnectURI(v.b.host.driverURI()))
	close(w.opened)
	if err == nil {
		var vol libvirt.StorageVol
		if vol, err = l.StorageVolLookupByPath(file); err == nil {
			err = l.StorageVolDownload(vol, sink, 0, 0, 0)
		}
	}
	lost := w.cause()
	_ = w.Close() // never fails
	<-l.Disconnected()
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case lost != nil && !isAnswer(err):
		return connectError(v.b.host.endpoint, lost)
	case err == nil:
		err = sink.err
	}
	return err
}

// patientSink takes everything, and remembers what went wrong: go-libvirt's connection is stuck
// for good when a sink fails.
type patientSink struct {
	w     io.Writer
	taken func() // called with each piece
	err   error
}

func (s *patientSink) Write(p []byte) (int, error) {
	s.taken()
	if s.err == nil {
		_, s.err = s.w.Write(p)
	}
	return len(p), nil
}
