package vm_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/storage"
	"github.com/maqet/maqet/vm"
)

// imageBench is a bench with real images, and a folder for those of the user.
type imageBench struct {
	*bench
	home string
}

func newImageBench(t *testing.T) *imageBench {
	t.Helper()
	if _, err := exec.LookPath("qemu-img"); err != nil {
		if os.Getenv("MAQET_REQUIRE") == "1" {
			t.Fatal(err)
		}
		t.Skip("qemu-img is missing: install qemu-utils:", err)
	}
	b := newBench(t)
	images, err := storage.NewManager(storage.Options{Root: filepath.Join(b.dir, "images"), Registry: b.store})
	require.NoError(t, err)
	b.Manager, err = vm.NewManager(vm.Options{Store: b.store, Images: images, Booter: b.booter, Dir: b.dir,
		Backends: map[string]vm.Backend{"process": b.backend}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Manager.Close()) })
	return &imageBench{b, t.TempDir()}
}

func (b *imageBench) at(name string) string { return filepath.Join(b.home, name) }

// img makes an image with qemu-img create.
func (b *imageBench) img(t *testing.T, name, format string, args ...string) string {
	t.Helper()
	args = append(append([]string{"create", "-q", "-f", format}, args...), b.at(name), "1M")
	out, err := exec.Command("qemu-img", args...).CombinedOutput()
	require.NoError(t, err, "%s", out)
	return b.at(name)
}

// refused starts a VM with these disks, which must fail at its images, and returns what is
// wrong with them.
func (b *imageBench) refused(t *testing.T, disks ...vm.Disk) *errors.ConfigError {
	t.Helper()
	inst := b.add(t, vm.Config{Disks: disks})
	_, err := b.Start(t.Context(), inst.ID)
	var start *errors.StartError
	require.ErrorAs(t, err, &start)
	require.Equal(t, vm.StepImages, start.Step)
	var bad *errors.ConfigError
	require.ErrorAs(t, err, &bad)
	require.ErrorIs(t, err, errors.ErrInvalidConfiguration)
	for _, p := range bad.Problems {
		require.NotEmpty(t, p.Fix, p)
	}
	require.NoDirExists(t, filepath.Join(b.dir, "images", inst.ID), "nothing was made")
	return bad
}

// TestOverlaySmallerThanItsBase: that would cut the base's file system off.
func TestOverlaySmallerThanItsBase(t *testing.T) {
	b := newImageBench(t)
	bad := b.refused(t, vm.Disk{Base: b.img(t, "base.qcow2", "qcow2"), Size: vm.MiB / 2})
	require.Len(t, bad.Problems, 1)
	require.Equal(t, "disks[0].size", bad.Problems[0].Field)
	require.Equal(t, "is less than the 1M of its base", bad.Problems[0].Message)
}

// TestUnusableImages: each fault of an image is an error before anything is made, which
// names the disk's field. None is ever made because a path is wrong.
func TestUnusableImages(t *testing.T) {
	b := newImageBench(t)
	raw, plain := b.img(t, "a.raw", "raw"), b.img(t, "plain.qcow2", "qcow2")
	gone := b.img(t, "gone.qcow2", "qcow2")
	b.img(t, "middle.qcow2", "qcow2", "-b", gone, "-F", "qcow2")
	b.img(t, "top.qcow2", "qcow2", "-b", b.at("middle.qcow2"), "-F", "qcow2")
	require.NoError(t, os.Remove(gone))
	require.NoError(t, unix.Mkfifo(b.at("fifo.raw"), 0o600))
	b.img(t, "secret.qcow2", "qcow2", "--object", "secret,id=k,data=x", "-o", "encrypt.format=aes,encrypt.key-secret=k")
	for name, c := range map[string]struct {
		disk  vm.Disk
		field string
		kind  error
		says  []string
	}{
		"mistyped ISO":     {vm.Disk{Path: b.at("debain.iso")}, "path", errors.ErrImageNotFound, []string{b.at("debain.iso"), "does not exist"}},
		"mistyped base":    {vm.Disk{Base: b.at("debain.qcow2"), Size: vm.GiB}, "base", errors.ErrImageNotFound, []string{"does not exist"}},
		"broken chain":     {vm.Disk{Path: b.at("top.qcow2")}, "path", errors.ErrImageNotFound, []string{gone, `top.qcow2" over "`, `middle.qcow2" over "`}},
		"broken base":      {vm.Disk{Base: b.at("top.qcow2")}, "base", errors.ErrImageNotFound, []string{gone, `middle.qcow2" over "`}},
		"format":           {vm.Disk{Path: raw, Format: "qcow2"}, "path", errors.ErrStorage, []string{"stated to be qcow2", "raw"}},
		"format of a base": {vm.Disk{Base: plain, Format: "raw", ReadOnly: true}, "base", errors.ErrStorage, []string{"stated to be raw", "qcow2"}},
		"folder":           {vm.Disk{Path: b.home, Format: "raw"}, "path", errors.ErrStorage, []string{"is a folder"}},
		"FIFO":             {vm.Disk{Path: b.at("fifo.raw")}, "path", errors.ErrStorage, []string{"is a FIFO"}},
		"character device": {vm.Disk{Path: "/dev/null", Format: "raw"}, "path", errors.ErrStorage, []string{"is a device"}},
		"encrypted":        {vm.Disk{Path: b.at("secret.qcow2")}, "path", errors.ErrStorage, []string{"encrypted", "qemu-img convert"}},
	} {
		t.Run(name, func(t *testing.T) {
			bad := b.refused(t, vm.Disk{Size: vm.MiB}, c.disk)
			require.Len(t, bad.Problems, 1, bad)
			require.Equal(t, "disks[1]."+c.field, bad.Problems[0].Field)
			require.ErrorIs(t, bad, c.kind)
			var cause *storage.ImageError
			require.ErrorAs(t, bad, &cause)
			for _, text := range c.says {
				require.ErrorContains(t, bad, text)
			}
		})
	}
	require.NoFileExists(t, b.at("debain.iso"))
	require.Len(t, b.refused(t, vm.Disk{Path: b.at("x.raw")}, vm.Disk{Path: raw}, vm.Disk{Base: b.at("y.raw")}).Problems, 2, "all at once")
}

// TestKeptOverlayWithoutItsBase: what the guest wrote is there, and is neither made anew
// nor deleted.
func TestKeptOverlayWithoutItsBase(t *testing.T) {
	b := newImageBench(t)
	base, keep := b.img(t, "base.raw", "raw"), true
	inst := b.start(t, vm.Config{Disks: []vm.Disk{{Base: base, Keep: &keep}}})
	_, err := b.Stop(t.Context(), inst.ID)
	require.NoError(t, err)
	require.NoError(t, os.Rename(base, base+".away"))
	_, err = b.Start(t.Context(), inst.ID)
	require.ErrorIs(t, err, errors.ErrImageNotFound)
	require.ErrorContains(t, err, "disks[0].base")
	require.ErrorContains(t, err, base)
	require.FileExists(t, filepath.Join(b.dir, "images", inst.ID, "disk0.qcow2"))
	require.NoError(t, os.Rename(base+".away", base))
	inst, err = b.Start(t.Context(), inst.ID)
	require.NoError(t, err)
	t.Cleanup(func() { b.backend.guest(inst.ID).end(errors.ExitStatus{Known: true}) })
}

// TestOneFileTwice: two disks can read one file, and not when one of them writes to it, be it
// by another name, or below the other's own image.
func TestOneFileTwice(t *testing.T) {
	b := newImageBench(t)
	raw := b.img(t, "a.raw", "raw")
	b.img(t, "over.qcow2", "qcow2", "-b", raw, "-F", "raw")
	require.NoError(t, os.Symlink(raw, b.at("link.raw")))
	require.NoError(t, os.Link(raw, b.at("hard.raw")))
	for _, second := range []vm.Disk{
		{Path: raw}, {Path: raw, ReadOnly: true}, {Path: b.at("link.raw")}, {Path: b.at("hard.raw")}, {Base: raw}, {Path: b.at("over.qcow2")},
	} {
		bad := b.refused(t, vm.Disk{Path: raw}, second)
		require.Len(t, bad.Problems, 1)
		require.True(t, strings.HasPrefix(bad.Problems[0].Field, "disks[1]."), bad)
		require.ErrorContains(t, bad, "also used by disks[0].path")
	}
	b.start(t, vm.Config{Disks: []vm.Disk{{Path: raw, ReadOnly: true}, {Base: raw}, {Base: raw}, {Path: b.at("link.raw"), ReadOnly: true}}})
}

// TestTrayHasNoImage: nothing is looked for, and nothing made.
func TestTrayHasNoImage(t *testing.T) {
	b := newImageBench(t)
	inst := b.start(t, vm.Config{Disks: []vm.Disk{{Name: "cd", Media: vm.MediaCDROM}, {Path: b.img(t, "a.iso", "raw")}}})
	require.Equal(t, []vm.Image{{Name: "cd"}, {Name: "disk1", Path: b.at("a.iso"), Format: "raw", ReadOnly: true}}, inst.Runtime.Disks)
}
