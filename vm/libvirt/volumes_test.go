//go:build linux

package libvirt

import (
	"bytes"
	"context"
	"crypto/rand"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/digitalocean/go-libvirt"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/internal/libvirttest"
	"github.com/maqet/maqet/storage"
	"github.com/maqet/maqet/vm"
)

// volumesBackend returns a backend with volumes, also where the daemon is a session's.
func volumesBackend(t *testing.T, d *libvirttest.Daemon, more ...func(*Options)) *Backend {
	t.Helper()
	o := Options{URI: d.URI(), LogDir: t.TempDir()}
	for _, fn := range more {
		fn(&o)
	}
	b, err := New(o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	if b.volumes == nil {
		volumesDefinePool(t, d, DefaultPool)
		b.volumes, err = newVolumes(b)
		require.NoError(t, err)
	}
	return b
}

// volumesDefinePool gives the daemon a pool, as users do.
func volumesDefinePool(t *testing.T, d *libvirttest.Daemon, name string) {
	t.Helper()
	l := d.Connect(t)
	if _, err := l.StoragePoolLookupByName(name); err == nil {
		return
	}
	dir, err := os.MkdirTemp("", "maqet-pool-")
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	_, err = l.StoragePoolDefineXML("<pool type='dir'><name>"+name+"</name><target><path>"+dir+"</path></target></pool>", 0)
	require.NoError(t, err)
}

func volumesNames(t *testing.T, d *libvirttest.Daemon, b *Backend) []string {
	t.Helper()
	return volumesIn(t, d.Connect(t), b.opts.Pool)
}

func volumesIn(tb testing.TB, l *libvirt.Libvirt, pool string) (names []string) {
	tb.Helper()
	in, err := l.StoragePoolLookupByName(pool)
	require.NoError(tb, err)
	all, _, err := l.StoragePoolListAllVolumes(in, 1, 0)
	require.NoError(tb, err)
	for _, vol := range all {
		names = append(names, vol.Name)
	}
	return names
}

// volumesContent downloads a volume.
func volumesContent(t *testing.T, d *libvirttest.Daemon, path string) []byte {
	t.Helper()
	l := d.Connect(t)
	vol, err := l.StorageVolLookupByPath(path)
	require.NoError(t, err)
	var got bytes.Buffer
	require.NoError(t, l.StorageVolDownload(vol, &got, 0, 0, 0))
	return got.Bytes()
}

func volumesFile(t *testing.T, size int) (path string, content []byte) {
	t.Helper()
	content = make([]byte, size)
	_, _ = rand.Read(content)
	path = filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(path, content, 0o600))
	return path, content
}

func TestVolumes(t *testing.T) {
	d := daemon.Get(t)
	b := volumesBackend(t, d)
	v, ctx := b.HostImages(), t.Context()
	id := uuid.NewString()
	at := func(name string) string {
		path, err := v.ImagePath(ctx, id, name)
		require.NoError(t, err)
		return path
	}
	_, err := v.ImageSize(ctx, at("a.qcow2"))
	require.ErrorIs(t, err, errors.ErrImageNotFound)
	_, err = v.Create(ctx, storage.CreateSpec{Path: at("a.qcow2"), Size: 64 << 20, For: storage.For{Owner: id, Disk: "a"}})
	require.NoError(t, err)
	size, err := v.ImageSize(ctx, at("a.qcow2"))
	require.NoError(t, err)
	require.Positive(t, size)
	layers, err := v.Usable(ctx, at("a.qcow2"), "qcow2", true)
	require.NoError(t, err)
	require.EqualValues(t, 64<<20, layers[0].Size)

	_, err = v.Create(ctx, storage.CreateSpec{Path: at("a.qcow2"), Size: 1 << 20})
	require.ErrorIs(t, err, errors.ErrImageCreation)
	require.ErrorContains(t, err, "exists already")
	_, err = v.Overlay(ctx, storage.OverlaySpec{Path: at("b.qcow2"), Base: at("a.qcow2"), BaseFormat: "qcow2", For: storage.For{Owner: id, Disk: "b"}})
	require.NoError(t, err)
	layers, err = v.Usable(ctx, at("b.qcow2"), "qcow2", true)
	require.NoError(t, err)
	require.Len(t, layers, 2)
	require.EqualValues(t, 64<<20, layers[0].Size)
	require.Equal(t, at("a.qcow2"), layers[1].Path)
	require.Equal(t, "qcow2", layers[1].Format)

	files, err := v.Files(ctx, storage.FileFilter{Owner: id})
	require.NoError(t, err)
	require.Len(t, files, 2)
	require.Equal(t, []string{DefaultName, "b", at("a.qcow2")}, []string{files[1].Host, files[1].Disk, files[1].Base})
	require.False(t, files[1].Unfinished)
	for _, f := range files {
		require.NoError(t, v.Delete(ctx, f.Path))
		require.NoError(t, v.Delete(ctx, f.Path), "again")
	}
	require.NotContains(t, strings.Join(volumesNames(t, d, b), " "), id)
	_, err = v.Create(ctx, storage.CreateSpec{Path: at("a.qcow2"), Size: 1 << 20, Encryption: &storage.Encryption{}})
	require.ErrorIs(t, err, errors.ErrInvalidConfiguration)
}

// A volume that maqet did not make is neither overwritten nor deleted, whatever it is called.
func TestVolumesOfOthers(t *testing.T) {
	d := daemon.Get(t)
	b := volumesBackend(t, d)
	v, ctx := b.HostImages(), t.Context()
	id := uuid.NewString()
	path, err := v.ImagePath(ctx, id, "disk0.qcow2")
	require.NoError(t, err)
	in, err := b.volumes.pool.use(ctx)
	require.NoError(t, err)
	l := d.Connect(t)
	theirs, err := l.StorageVolCreateXML(in, "<volume><name>"+filepath.Base(path)+"</name><capacity>4096</capacity></volume>", 0)
	require.NoError(t, err)
	defer func() { require.NoError(t, l.StorageVolDelete(theirs, 0)) }()
	_, err = v.Create(ctx, storage.CreateSpec{Path: path, Size: 1 << 20})
	require.ErrorIs(t, err, errors.ErrImageCreation)
	require.ErrorContains(t, err, "virsh")
	require.ErrorIs(t, v.Delete(ctx, path), storage.ErrUnregistered)
	// Recorded or not: the name says whose it is.
	require.NoError(t, b.opts.Files.PutFile(ctx, storage.File{Path: DefaultName + ":/var/lib/libvirt/images/precious", Host: DefaultName}))
	require.ErrorIs(t, v.Delete(ctx, "/var/lib/libvirt/images/precious"), storage.ErrUnregistered)
}

// Files of this host are copied once, by however many at once, and used as bases.
func TestVolumesOfContent(t *testing.T) {
	d := daemon.Get(t)
	var log bytes.Buffer
	b := volumesBackend(t, d, func(o *Options) { o.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
	v, ctx := b.HostImages(), t.Context()
	file, content := volumesFile(t, 3<<20+17)
	var wg sync.WaitGroup
	paths := make([]string, 4)
	for i := range paths {
		wg.Go(func() {
			var err error
			paths[i], err = v.Stage(ctx, file, "raw")
			require.NoError(t, err)
		})
	}
	wg.Wait()
	for _, path := range paths {
		require.Equal(t, paths[0], path)
	}
	require.True(t, bytes.Equal(content, volumesContent(t, d, paths[0])))
	require.Equal(t, 1, strings.Count(log.String(), "copying file"))
	again, err := v.Stage(ctx, paths[0], "raw")
	require.NoError(t, err)
	require.Equal(t, paths[0], again, "what is there is used there")

	id := uuid.NewString()
	over, err := v.ImagePath(ctx, id, "disk0.qcow2")
	require.NoError(t, err)
	img, err := v.Overlay(ctx, storage.OverlaySpec{Path: over, Base: file, BaseFormat: "raw", For: storage.For{Owner: id}})
	require.NoError(t, err)
	require.Equal(t, paths[0], img.Base)
	require.GreaterOrEqual(t, img.Size, int64(len(content)))
	require.NoError(t, v.Delete(ctx, over))

	second := volumesBackend(t, d)
	got, err := second.HostImages().Stage(ctx, file, "raw")
	require.NoError(t, err)
	require.Equal(t, paths[0], got, "another process finds it")
	require.NoError(t, os.WriteFile(file, []byte("other"), 0o600))
	got, err = v.Stage(ctx, file, "raw")
	require.NoError(t, err)
	require.Equal(t, "other", string(volumesContent(t, d, got)))
}

// A copy that its maker's death cut off is not taken for a whole one.
func TestVolumeOfHalfAContent(t *testing.T) {
	d := daemon.Get(t)
	b := volumesBackend(t, d)
	v, ctx := b.volumes, t.Context()
	file, content := volumesFile(t, 1<<20)
	whole, err := v.Stage(ctx, file, "raw")
	require.NoError(t, err)
	vol, err := d.Connect(t).StorageVolLookupByPath(whole)
	require.NoError(t, err)
	require.NoError(t, d.Connect(t).StorageVolDelete(vol, 0))
	desc := emptyVolume(filepath.Base(whole))
	xml, err := desc.Marshal()
	require.NoError(t, err)
	in, err := v.pool.use(ctx)
	require.NoError(t, err)
	l := d.Connect(t)
	half, err := l.StorageVolCreateXML(in, xml, 0)
	require.NoError(t, err)
	require.NoError(t, l.StorageVolUpload(half, bytes.NewReader(content[:1<<19]), 0, 0, 0))
	got, err := v.Stage(ctx, file, "raw")
	require.NoError(t, err)
	require.NotEqual(t, whole, got)
	require.True(t, bytes.Equal(content, volumesContent(t, d, got)))
}

// stuck delivers some data, and then none until its context ends.
type stuck struct {
	ctx  context.Context
	some io.Reader
	then func()
}

func (s *stuck) Read(p []byte) (int, error) {
	if n, err := s.some.Read(p); err == nil {
		return n, nil
	}
	s.then()
	<-s.ctx.Done()
	return 0, context.Cause(s.ctx)
}

// TestUploadEnds: a source that fails, and a context that ends, end an upload at once, and
// leave nothing behind. go-libvirt's would be stuck.
func TestUploadEnds(t *testing.T) {
	d := daemon.Get(t)
	b := volumesBackend(t, d)
	v := b.volumes
	id := uuid.NewString()
	path, err := v.ImagePath(t.Context(), id, "x.iso")
	require.NoError(t, err)
	fill := func(src io.Reader) func(context.Context, libvirt.StorageVol) error {
		return func(ctx context.Context, vol libvirt.StorageVol) error { return v.upload(ctx, vol, src, "x", 1) }
	}
	place := func(ctx context.Context, src io.Reader) error {
		return v.place(ctx, storage.For{Owner: id}, storage.Image{Path: path, Format: "raw"}, emptyVolume(filepath.Base(path)), fill(src))
	}
	broken := errors.New("broken")
	failing := io.MultiReader(bytes.NewReader(make([]byte, 1<<20)), readerFunc(func([]byte) (int, error) { return 0, broken }))
	require.ErrorIs(t, place(t.Context(), failing), broken)

	ctx, cancel := context.WithCancel(t.Context())
	begun := make(chan struct{})
	go func() {
		<-begun
		cancel()
	}()
	err = place(ctx, &stuck{ctx, bytes.NewReader(make([]byte, 1<<20)), func() { close(begun) }})
	require.ErrorIs(t, err, context.Canceled)
	require.NotContains(t, strings.Join(volumesNames(t, d, b), " "), id)
	require.NoError(t, place(t.Context(), bytes.NewReader([]byte("whole"))), "nothing is in the way")
	require.Equal(t, "whole", string(volumesContent(t, d, path)))
	require.NoError(t, v.Delete(t.Context(), path))
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// TestVolumesThatCantBeUsed: what is wrong with an image is said before anything is made.
func TestVolumesThatCantBeUsed(t *testing.T) {
	d := daemon.Get(t)
	b := volumesBackend(t, d)
	v, ctx := b.HostImages(), t.Context()
	var bad *storage.ImageError
	_, err := v.Usable(ctx, "/nowhere/x.qcow2", "qcow2", false)
	require.ErrorAs(t, err, &bad)
	require.ErrorIs(t, err, errors.ErrImageNotFound)
	require.NotEmpty(t, bad.Fix)
	dir := t.TempDir()
	for _, args := range [][]string{{"base.qcow2", "1M"}, {"-b", dir + "/base.qcow2", "-F", "qcow2", "over.qcow2"}} {
		cmd := exec.Command("qemu-img", append([]string{"create", "-q", "-f", "qcow2"}, args...)...)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
	layers, err := v.Usable(ctx, dir+"/base.qcow2", "qcow2", false)
	require.NoError(t, err)
	require.EqualValues(t, 1<<20, layers[0].Size)
	_, err = v.Usable(ctx, dir+"/over.qcow2", "qcow2", false)
	require.ErrorAs(t, err, &bad)
	require.Contains(t, bad.Fix, "qemu-img convert")
	raw, _ := volumesFile(t, 4096)
	staged, err := v.Stage(ctx, raw, "raw")
	require.NoError(t, err)
	_, err = v.Usable(ctx, staged, "qcow2", false)
	require.ErrorAs(t, err, &bad)
	require.Contains(t, bad.Msg, "raw")
}

// TestPoolIsMadeOnce: whoever is first, and started again by who finds it stopped.
func TestPoolIsMadeOnce(t *testing.T) {
	d := daemon.Get(t)
	var wg sync.WaitGroup
	for range 4 {
		b := volumesBackend(t, d)
		wg.Go(func() {
			_, err := b.volumes.pool.use(t.Context())
			require.NoError(t, err)
		})
	}
	wg.Wait()
	b := volumesBackend(t, d)
	v, ctx := b.HostImages(), t.Context()
	file, _ := volumesFile(t, 4096)
	staged, err := v.Stage(ctx, file, "raw")
	require.NoError(t, err)
	l := d.Connect(t)
	in, err := l.StoragePoolLookupByName(DefaultPool)
	require.NoError(t, err)
	require.NoError(t, l.StoragePoolDestroy(in))
	size, err := v.ImageSize(ctx, staged)
	require.NoError(t, err)
	require.EqualValues(t, 4096, size)
	require.NoError(t, l.StoragePoolDestroy(in))
	again, err := v.Stage(ctx, file, "raw")
	require.NoError(t, err)
	require.Equal(t, staged, again)

	_, err = volumesBackend(t, d, func(o *Options) { o.Pool = "nobody-has-it" }).HostImages().ImagePath(ctx, "id", "x")
	require.ErrorIs(t, err, errors.ErrStorage)
	require.ErrorContains(t, err, "virsh pool-define-as")
}

func TestPoolIsWaitedForWithAContext(t *testing.T) {
	p := newPool(nil, "any")
	require.NoError(t, p.enter(t.Context()))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := p.folder(ctx)
	require.ErrorIs(t, err, context.Canceled)
	_, err = p.use(ctx)
	require.ErrorIs(t, err, context.Canceled)
}

// TestSeedAsVolume: what cloud-init reads is a volume, whole.
func TestSeedAsVolume(t *testing.T) {
	d := daemon.Get(t)
	v, ctx := volumesBackend(t, d).HostImages(), t.Context()
	id := uuid.NewString()
	path, err := v.ImagePath(ctx, id, "seed.iso")
	require.NoError(t, err)
	img, err := v.ISO(ctx, storage.ISOSpec{Path: path, Label: "cidata", Files: map[string][]byte{"user-data": []byte("#cloud-config\n")}, For: storage.For{Owner: id}})
	require.NoError(t, err)
	require.Equal(t, path, img.Path)
	size, err := v.ImageSize(ctx, path)
	require.NoError(t, err)
	require.Equal(t, img.Size, size)
	require.Contains(t, string(volumesContent(t, d, path)), "#cloud-config")
	require.NoError(t, v.Delete(ctx, path))
}

var _ vm.Images = (*volumes)(nil)
