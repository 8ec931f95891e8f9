package libvirt

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"
	"time"

	"github.com/digitalocean/go-libvirt"
	"libvirt.org/go/libvirtxml"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/internal/libvirtrpc"
)

// contentPrefix begins the names of volumes with copies of this host's files: then come the
// SHA-256 of the content, and some bytes of chance, so that copies that are being made at the same
// time do not meet. libvirt can't rename volumes. A copy is whole when it is as long as the
// file: it grows from nothing, from its beginning on.
const contentPrefix = volumePrefix + "sha256-"

const (
	// progressEvery is how often an upload's progress is logged.
	progressEvery = 5 * time.Second
	// abandoned is after how long without a change a copy that is not whole is nobody's.
	abandoned = time.Hour
)

// fileID tells whether a file is the one that was read, unchanged.
type fileID struct {
	path     string
	dev, ino uint64
	size     int64
	modified time.Time
}

func identify(f *os.File) (fileID, error) {
	info, err := f.Stat()
	if err != nil {
		return fileID{}, err
	}
	if !info.Mode().IsRegular() {
		return fileID{}, errors.New("it is not a regular file")
	}
	st := info.Sys().(*syscall.Stat_t)
	return fileID{f.Name(), uint64(st.Dev), st.Ino, info.Size(), info.ModTime()}, nil
}

// Stage implements vm.HostImages. Volumes of the host are used in place.
func (v *volumes) Stage(ctx context.Context, file, _ string) (string, error) {
	if _, err := v.find(ctx, file); !errors.Is(err, errors.ErrImageNotFound) {
		return file, err
	}
	return v.stage(ctx, file)
}

// stage returns the path of a volume with the content of a file of this host, which is copied
// there unless there is one.
func (v *volumes) stage(ctx context.Context, file string) (string, error) {
	// O_NONBLOCK keeps a FIFO from holding it up.
	f, err := os.OpenFile(file, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	op := "copy " + file + " to " + v.b.host.endpoint.String()
	if errors.Is(err, fs.ErrNotExist) {
		return "", errors.Wrap(errors.ErrImageNotFound, op, "", err)
	}
	if err != nil {
		return "", errors.Wrap(errors.ErrStorage, op, "", err)
	}
	defer f.Close()
	id, err := identify(f)
	if err != nil {
		return "", errors.Wrap(errors.ErrStorage, op, "", err)
	}
	sum, err := v.sum(ctx, f, id)
	if err != nil {
		return "", errors.Wrap(errors.ErrStorage, op, "", err)
	}
	release, err := v.claim(ctx, sum)
	if err != nil {
		return "", errors.Wrap(errors.ErrStorage, op, "", err)
	}
	defer release()
	found, err := v.content(ctx, sum, id.size)
	if err != nil || found != "" {
		return found, err
	}
	found, err = v.copy(ctx, f, id, sum)
	return found, errors.Wrap(errors.ErrStorage, op, "", err)
}

// sum returns the SHA-256 of a file, which is read once as long as it stays as it is.
func (v *volumes) sum(ctx context.Context, f *os.File, id fileID) (string, error) {
	v.mu.Lock()
	known := v.sums[id]
	v.mu.Unlock()
	if known != "" {
		return known, nil
	}
	h := sha256.New()
	if _, err := io.Copy(h, contextReader{ctx, f}); err != nil {
		return "", err
	}
	known = hex.EncodeToString(h.Sum(nil))
	v.mu.Lock()
	v.sums[id] = known
	v.mu.Unlock()
	return known, nil
}

// contextReader ends with a context, between two reads.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (r contextReader) Read(p []byte) (int, error) {
	if r.ctx.Err() != nil {
		return 0, context.Cause(r.ctx)
	}
	return r.r.Read(p)
}

// claim makes the caller the only one of this process that copies a content.
func (v *volumes) claim(ctx context.Context, sum string) (release func(), err error) {
	for {
		v.mu.Lock()
		other := v.copying[sum]
		if other == nil {
			mine := make(chan bool)
			v.copying[sum] = mine
			v.mu.Unlock()
			return func() {
				v.mu.Lock()
				delete(v.copying, sum)
				v.mu.Unlock()
				close(mine)
			}, nil
		}
		v.mu.Unlock()
		select {
		case <-other:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// content returns the path of a whole copy, empty if there is none. Parts that nobody goes on
// with are deleted.
func (v *volumes) content(ctx context.Context, sum string, size int64) (string, error) {
	xmls, err := v.copies(ctx, sum)
	if isAnswer(err) { // perhaps somebody has stopped the pool: it is started again
		v.pool.stale()
		xmls, err = v.copies(ctx, sum)
	}
	if err != nil {
		return "", err
	}
	for _, xml := range xmls {
		var desc libvirtxml.StorageVolume
		if err := desc.Unmarshal(xml); err != nil || desc.Target == nil {
			continue
		}
		if fileSize(&desc) == size {
			return desc.Target.Path, nil
		}
		if changed := modified(&desc); !changed.IsZero() && time.Since(changed) > abandoned {
			if err := v.drop(ctx, desc.Target.Path); err != nil {
				v.b.log.WarnContext(ctx, "part of a copy not deleted", "volume", desc.Target.Path, "error", err)
			}
		}
	}
	return "", nil
}

// copies describes the volumes that have a content, or a part of it.
func (v *volumes) copies(ctx context.Context, sum string) ([]string, error) {
	in, err := v.pool.use(ctx)
	if err != nil {
		return nil, err
	}
	return ask(ctx, v.b.host.call, "list volumes", "", func(l *libvirt.Libvirt) (xmls []string, err error) {
		all, _, err := l.StoragePoolListAllVolumes(in, 1, 0)
		if err != nil {
			return nil, err
		}
		for _, vol := range all {
			if !strings.HasPrefix(vol.Name, contentPrefix+sum) {
				continue
			}
			if xml, err := l.StorageVolGetXMLDesc(vol, 0); err == nil { // else it has just gone
				xmls = append(xmls, xml)
			}
		}
		return xmls, nil
	})
}

// modified is when a volume was written last; zero where libvirt does not say.
func modified(desc *libvirtxml.StorageVolume) time.Time {
	if desc.Target.Timestamps == nil {
		return time.Time{}
	}
	seconds, _, _ := strings.Cut(desc.Target.Timestamps.Mtime, ".")
	var n int64
	for _, c := range []byte(seconds) {
		if c < '0' || c > '9' || n > 1<<40 {
			return time.Time{}
		}
		n = 10*n + int64(c-'0')
	}
	return time.Unix(n, 0)
}

// copy makes a volume with a file's content. When it fails nothing is left.
func (v *volumes) copy(ctx context.Context, f *os.File, id fileID, sum string) (string, error) {
	in, err := v.pool.use(ctx)
	if err != nil {
		return "", err
	}
	chance := make([]byte, 4)
	_, _ = rand.Read(chance) // never fails
	desc := emptyVolume(contentPrefix + sum + "-" + hex.EncodeToString(chance))
	xml, err := desc.Marshal()
	if err != nil {
		return "", err
	}
	folder, err := v.pool.folder(ctx)
	if err != nil {
		return "", err
	}
	to := path.Join(folder, desc.Name)
	vol, err := ask(ctx, v.b.host.call, "create volume", "", func(l *libvirt.Libvirt) (libvirt.StorageVol, error) {
		return l.StorageVolCreateXML(in, xml, 0)
	})
	if err == nil {
		err = v.pour(ctx, f, id, sum, vol)
	}
	if err != nil {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTime)
		defer cancel()
		return "", errors.Join(err, v.drop(ctx, to))
	}
	return to, nil
}

// emptyVolume describes a file without content.
func emptyVolume(name string) libvirtxml.StorageVolume {
	return libvirtxml.StorageVolume{Name: name,
		Capacity: &libvirtxml.StorageVolumeSize{Unit: "bytes"},
		Target: &libvirtxml.StorageVolumeTarget{Format: &libvirtxml.StorageVolumeTargetFormat{Type: "raw"},
			Permissions: &libvirtxml.StorageVolumeTargetPermissions{Mode: "0600"}}}
}

// pour uploads a file, and fails if it has changed meanwhile.
func (v *volumes) pour(ctx context.Context, f *os.File, id fileID, sum string, vol libvirt.StorageVol) error {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	v.b.log.InfoContext(ctx, "copying file to host", "file", id.path, "bytes", id.size, "host", v.b.host.endpoint.String())
	h := sha256.New()
	if err := v.upload(ctx, vol, io.TeeReader(f, h), id.path, id.size); err != nil {
		return err
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != sum {
		return errors.New("it changed while it was copied")
	}
	return nil
}

// upload writes src to a volume, over a connection of its own. It ends with ctx, and when nothing
// has moved for Options.Timeout.
func (v *volumes) upload(ctx context.Context, vol libvirt.StorageVol, src io.Reader, name string, size int64) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	conn, err := v.b.host.dial(ctx)
	if err != nil {
		return err
	}
	silent := errors.Wrap(errors.ErrLibvirtConnection, "upload", "", errors.New("the host takes no more data"))
	p := &progress{r: src, log: func(done int64) {
		v.b.log.InfoContext(ctx, "copying file to host", "file", name, "done", done, "bytes", size)
	}, limit: v.b.opts.Timeout, told: time.Now()}
	p.alarm = time.AfterFunc(p.limit, func() { cancel(silent) })
	defer p.alarm.Stop()
	return errors.Wrap(errors.ErrStorage, "upload to volume "+vol.Name, "",
		libvirtrpc.Upload(ctx, conn, v.b.host.driverURI(), vol, p))
}

// progress tells how far an upload is, and when it stands still.
type progress struct {
	r     io.Reader
	log   func(done int64)
	limit time.Duration
	alarm *time.Timer
	done  int64
	told  time.Time
}

func (p *progress) Read(b []byte) (int, error) {
	p.alarm.Reset(p.limit)
	if now := time.Now(); now.Sub(p.told) >= progressEvery {
		p.told = now
		p.log(p.done)
	}
	n, err := p.r.Read(b)
	p.done += int64(n)
	return n, err
}
