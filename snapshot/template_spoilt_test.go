package snapshot_test

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/snapshot"
	"github.com/maqet/maqet/vm"
)

// withoutSystem is a guest to capture that does nothing, with a disk of the user's and one that
// maqet makes.
func (h *house) withoutSystem(name string) vm.Config {
	h.t.Helper()
	path := filepath.Join(h.dir, name+"-blank.qcow2")
	out, err := exec.Command("qemu-img", "create", "-q", "-f", "qcow2", path, "8M").CombinedOutput()
	require.NoError(h.t, err, "%s", out)
	return vm.Config{Name: name, Memory: 128 * vm.MiB, Template: true, Disks: []vm.Disk{{Path: path}, {Size: 8 * vm.MiB}}}
}

// vmNames lists the VMs that are recorded.
func (h *house) vmNames() (names []string) {
	h.t.Helper()
	list, err := h.vms.List(context.Background(), vm.Filter{})
	require.NoError(h.t, err)
	for _, inst := range list {
		names = append(names, inst.Name)
	}
	return names
}

// refused forks a template in vain, and returns the steps that its start had.
func (h *house) refused(name string, opts ...snapshot.ForkOption) (steps []string, err error) {
	h.t.Helper()
	opts = append(opts, snapshot.Alike(), snapshot.ForkStart(vm.OnStep(func(s vm.Step) { steps = append(steps, s.Name) })))
	_, err = h.snaps.Fork(soon(h.t), name, opts...)
	return steps, err
}

// TestTemplateSpoilt: a file that is not what was saved is named, before QEMU runs.
func TestTemplateSpoilt(t *testing.T) {
	h := newHouse(t)
	h.boot(h.withoutSystem("base"), vm.StartPaused())
	tmpl := h.capture("base", "one", snapshot.KeepTemplate(vm.Persistent))
	alike := []snapshot.ForkOption{snapshot.Alike(), snapshot.ForkStart(vm.StartPaused())}
	require.NoError(t, h.vms.Remove(soon(t), h.fork("one", alike...).ID, vm.ForceRemove()))
	folder := filepath.Join(h.dir, "templates", "one")
	for _, path := range []string{filepath.Join(folder, "manifest.json"), filepath.Join(folder, "state"), filepath.Join(folder, "memory"),
		tmpl.Config.Disks[0].Base, tmpl.Config.Disks[1].Base, filepath.Join(h.dir, "base-blank.qcow2")} {
		for how, spoil := range map[string]func() error{
			"truncated": func() error {
				info, err := os.Stat(path)
				require.NoError(t, err)
				return os.Truncate(path, info.Size()/2)
			},
			"changed": func() error {
				f, err := os.OpenFile(path, os.O_WRONLY, 0)
				require.NoError(t, err)
				_, err = f.WriteAt([]byte("spoilt"), 0)
				return errors.Join(err, f.Close())
			},
			"gone": func() error { return os.Remove(path) },
		} {
			t.Run(filepath.Base(path)+" "+how, func(t *testing.T) {
				keepFile(t, path)
				require.NoError(t, spoil())
				steps, err := h.in(t).refused("one")
				if how == "gone" && strings.HasSuffix(path, ".json") {
					require.ErrorIs(t, err, errors.ErrTemplateNotFound)
				} else {
					require.ErrorIs(t, err, errors.ErrTemplateMismatch)
					require.ErrorContains(t, err, filepath.Base(path))
				}
				require.NotContains(t, steps, vm.StepLaunch)
			})
		}
	}
	require.Equal(t, []string{"base"}, h.vmNames(), "nothing is left of forks that were refused")
	require.NoError(t, h.vms.Remove(soon(t), h.fork("one", alike...).ID, vm.ForceRemove()), "as it was again")
	require.NoError(t, h.vms.Remove(soon(t), "base"))
	require.NoError(t, h.snaps.DeleteTemplate(soon(t), "one"))
}

// keepFile brings a file back when the test ends, as if nothing had happened to it.
func keepFile(t *testing.T, path string) {
	t.Helper()
	kept := path + ".kept"
	out, err := exec.Command("cp", "-a", "--sparse=always", path, kept).CombinedOutput()
	require.NoError(t, err, "%s", out)
	saved := filepath.Join(filepath.Dir(path), ".link")
	require.NoError(t, os.Link(path, saved)) // the same file is to come back, not another one
	t.Cleanup(func() {
		info, err := os.Stat(kept)
		require.NoError(t, err)
		_ = os.Remove(path)
		require.NoError(t, os.Rename(saved, path))
		out, err := exec.Command("cp", "--sparse=always", kept, path).CombinedOutput()
		require.NoError(t, err, "%s", out)
		require.NoError(t, os.Chtimes(path, info.ModTime(), info.ModTime()))
		require.NoError(t, os.Remove(kept))
	})
}

// TestTemplateMachine: a fork that would be another machine is refused, with what differs.
func TestTemplateMachine(t *testing.T) {
	h := newHouse(t)
	h.boot(h.withoutSystem("base"), vm.StartPaused())
	h.capture("base", "one")
	for _, c := range []struct {
		names  string
		change func(*vm.Config)
	}{
		{"virtio-rng-pci", func(c *vm.Config) { c.Devices = append(c.Devices, vm.Device{Driver: "virtio-rng-pci"}) }},
		{"more", func(c *vm.Config) { c.Disks = append(c.Disks, vm.Disk{Name: "more", Size: vm.MiB}) }},
		{"virtio-net-pci", func(c *vm.Config) { c.Networks = append(c.Networks, vm.Network{}) }},
		{"-m size=256M", func(c *vm.Config) { c.Memory = 256 * vm.MiB }},
		{"cpus=2", func(c *vm.Config) { c.CPU.Count = 2 }},
		{"qemu64", func(c *vm.Config) { c.CPU.Model = "qemu64" }},
		{"pc-i440fx", func(c *vm.Config) { c.Machine = "pc" }},
	} {
		_, err := h.refused("one", snapshot.ForkConfig(c.change))
		require.ErrorIs(t, err, errors.ErrTemplateMismatch, c.names)
		require.ErrorContains(t, err, c.names)
	}
	t.Setenv("MAQET_QEMU", otherQEMU(t))
	_, err := h.refused("one")
	require.ErrorIs(t, err, errors.ErrTemplateMismatch)
	require.ErrorContains(t, err, "QEMU was")
	require.ErrorContains(t, err, "2001-02-03")
	require.Equal(t, []string{"base"}, h.vmNames(), "nothing is left of forks that were refused")
}

// otherQEMU returns a copy of QEMU with a date of its own.
func otherQEMU(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("qemu-system-x86_64")
	require.NoError(t, err)
	prefix := t.TempDir()
	for _, dir := range []string{"lib", "lib64", "libexec", "share"} { // it finds its modules from where it is
		require.NoError(t, os.Symlink(filepath.Join(path, "..", "..", dir), filepath.Join(prefix, dir)))
	}
	other := filepath.Join(prefix, "bin", filepath.Base(path))
	require.NoError(t, os.Mkdir(filepath.Dir(other), 0o700))
	out, err := exec.Command("cp", path, other).CombinedOutput()
	require.NoError(t, err, "%s", out)
	date := time.Date(2001, 2, 3, 4, 5, 6, 0, time.UTC)
	require.NoError(t, os.Chtimes(other, date, date))
	return other
}

// TestTemplateMemorySealed: nobody can write the memory of an ephemeral template, also not who
// can open it.
func TestTemplateMemorySealed(t *testing.T) {
	h := newHouse(t)
	h.boot(h.withoutSystem("base"), vm.StartPaused())
	h.capture("base", "one")
	data, err := os.ReadFile(filepath.Join(h.dir, "templates", "one", "manifest.json"))
	require.NoError(t, err)
	var manifest struct {
		FD int `json:"ram_fd"`
	}
	require.NoError(t, json.Unmarshal(data, &manifest))
	f, err := os.OpenFile(filepath.Join("/proc/self/fd", strconv.Itoa(manifest.FD)), os.O_RDWR, 0)
	require.NoError(t, err)
	defer f.Close()
	_, err = f.WriteAt([]byte("spoilt"), 4096)
	require.ErrorIs(t, err, unix.EPERM)
	require.ErrorIs(t, f.Truncate(4096), unix.EPERM)
	require.ErrorIs(t, f.Truncate(1<<30), unix.EPERM)
	_, err = unix.Mmap(int(f.Fd()), 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	require.ErrorIs(t, err, unix.EPERM)
	_, err = unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, 0)
	require.ErrorIs(t, err, unix.EPERM, "it stays so")
	private, err := unix.Mmap(int(f.Fd()), 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE)
	require.NoError(t, err, "as forks do")
	require.NoError(t, unix.Munmap(private))
}
