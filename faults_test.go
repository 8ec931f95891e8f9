package maqet_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/maqet/maqet"
	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/internal/testhost"
	"github.com/maqet/maqet/vm"
)

// TestBadStarts: what can't start says why, by type, and leaves nothing.
func TestBadStarts(t *testing.T) {
	file := func(t *testing.T, content string) string {
		path := filepath.Join(t.TempDir(), "file.img")
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
		return path
	}
	for _, c := range []struct {
		name   string
		config func(t *testing.T) vm.Config
		kind   *errors.Kind
		text   string
	}{
		{"no QEMU", func(*testing.T) vm.Config { return vm.Config{Binary: "/nowhere/qemu-system-x86_64"} },
			errors.ErrQEMUNotFound, "Config.Binary"},
		{"bad machine type", func(*testing.T) vm.Config { return vm.Config{Machine: "q53"} },
			errors.ErrConfigValidation, "q35"},
		{"missing kernel file", func(*testing.T) vm.Config { return vm.Config{Boot: vm.Boot{Kernel: "/nowhere/vmlinuz"}} },
			errors.ErrInvalidConfiguration, "/nowhere/vmlinuz"},
		{"kernel that is none", func(t *testing.T) vm.Config { return vm.Config{Boot: vm.Boot{Kernel: file(t, "no kernel")}} },
			errors.ErrInvalidConfiguration, "file.img"},
		{"missing initrd", func(*testing.T) vm.Config { return vm.Config{Boot: vm.Boot{Kernel: "auto", Initrd: "/nowhere/initrd"}} },
			errors.ErrInvalidConfiguration, "/nowhere/initrd"},
		{"missing disk", func(*testing.T) vm.Config { return vm.Config{Disks: []vm.Disk{{Path: "/nowhere/a.qcow2"}}} },
			errors.ErrImageNotFound, "/nowhere/a.qcow2"},
		{"disk that is a folder", func(t *testing.T) vm.Config { return vm.Config{Disks: []vm.Disk{{Path: t.TempDir(), Format: "raw"}}} },
			errors.ErrStorage, "folder"},
		{"disk of another format", func(t *testing.T) vm.Config {
			return vm.Config{Disks: []vm.Disk{{Path: file(t, strings.Repeat("x", 1024)), Format: "qcow2"}}}
		}, errors.ErrStorage, "qcow2"},
		{"QEMU exits at once", func(*testing.T) vm.Config { return vm.Config{Args: []string{"-device", "no-such-device"}} },
			errors.ErrVMStart, "no-such-device"},
		{"colliding argument", func(*testing.T) vm.Config { return vm.Config{Args: []string{"-machine", "pc"}} },
			errors.ErrConfiguration, "-machine"},
		{"KVM that is not there", func(*testing.T) vm.Config { return vm.Config{Accel: "kvm"} },
			errors.ErrConfiguration, "accel"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.config(t).Accel == "kvm" && kvmWorks(t) {
				t.Skip("KVM works here")
			}
			dir := shortDir(t)
			m := open(t, dir)
			_, err := m.Run(t.Context(), c.config(t))
			require.ErrorIs(t, err, c.kind)
			require.ErrorIs(t, err, errors.ErrMaqet)
			require.ErrorContains(t, err, c.text)
			list, listErr := m.VM.List(t.Context(), vm.Filter{})
			require.NoError(t, listErr)
			require.Empty(t, list)
			requireNothingLeft(t, dir)
		})
	}
}

// kvmWorks reports whether the default acceleration is KVM here.
func kvmWorks(t *testing.T) bool {
	m := open(t, shortDir(t))
	inst, err := m.VM.Add(t.Context(), vm.Config{})
	require.NoError(t, err)
	inst, err = m.VM.Start(t.Context(), inst.ID, vm.StartPaused())
	require.NoError(t, err)
	return inst.Runtime.Accel == "kvm"
}

func TestKernelPanics(t *testing.T) {
	dir := shortDir(t)
	m := open(t, dir)
	within(t, 2*time.Minute, "a panic ends the start", func() {
		_, err := m.Run(t.Context(), vm.Config{Boot: vm.Boot{Cmdline: "rdinit=/bin/false"}})
		require.ErrorIs(t, err, errors.ErrGuestPanic)
		var start *errors.StartError
		require.ErrorAs(t, err, &start)
		require.Equal(t, vm.StepReady, start.Step)
		require.Contains(t, start.Console, "Kernel panic")
		require.NotEmpty(t, start.Args)
	})
	requireNothingLeft(t, dir)
}

func TestSilentGuest(t *testing.T) {
	dir := shortDir(t)
	m := open(t, dir)
	empty := filepath.Join(t.TempDir(), "empty.raw")
	require.NoError(t, os.WriteFile(empty, make([]byte, 1<<20), 0o600))
	within(t, time.Minute, "silence is noticed", func() {
		_, err := m.Run(t.Context(), vm.Config{
			Disks:    []vm.Disk{{Base: empty}},
			Timeouts: vm.Timeouts{Silence: vm.Duration(2 * time.Second)},
		})
		require.ErrorIs(t, err, errors.ErrGuestSilent)
		require.ErrorContains(t, err, "no sign of life")
	})
	requireNothingLeft(t, dir)
}

func TestAgentThatNeverAnswers(t *testing.T) {
	dir := shortDir(t)
	m := open(t, dir)
	within(t, 2*time.Minute, "the time for being ready ends", func() {
		_, err := m.Run(t.Context(), vm.Config{
			Boot:     vm.Boot{Cmdline: "rdinit=/bin/sleep -- 1000"},
			Timeouts: vm.Timeouts{Ready: vm.Duration(5 * time.Second), Silence: vm.Duration(time.Hour)},
		})
		require.ErrorIs(t, err, errors.ErrVMStart)
		require.ErrorContains(t, err, "agent")
		require.True(t, errors.Is(err, errors.ErrWaitTimeout) || errors.Is(err, errors.ErrAgentUnavailable), "%v", err)
	})
	requireNothingLeft(t, dir)
}

func TestSocketFolderTooLong(t *testing.T) {
	dir := filepath.Join(shortDir(t), strings.Repeat("long", 30))
	m, err := maqet.New(maqet.WithDir(dir))
	if err == nil {
		_, err = m.Run(t.Context(), vm.Config{})
		require.NoError(t, m.Close())
		requireNothingLeft(t, dir)
	}
	require.ErrorIs(t, err, errors.ErrInvalidConfiguration)
	require.ErrorContains(t, err, "107")
	require.ErrorContains(t, err, "WithRuntimeDir")
}

// TestFullDisk runs a VM on a file system without room for its disk.
func TestFullDisk(t *testing.T) {
	dir := shortDir(t)
	full := filepath.Join(dir, "small")
	require.NoError(t, os.Mkdir(full, 0o700))
	testhost.Needs(t, "mounting a small tmpfs", unix.Mount("tmpfs", full, "tmpfs", 0, "size=1m"))
	t.Cleanup(func() { require.NoError(t, unix.Unmount(full, unix.MNT_DETACH)) })
	m := open(t, filepath.Join(full, "m"))
	filler, err := os.Create(filepath.Join(full, "filler"))
	require.NoError(t, err)
	defer filler.Close()
	inst, err := m.VM.Add(t.Context(), vm.Config{Disks: []vm.Disk{{Size: vm.GiB}}})
	require.NoError(t, err)
	for err == nil {
		_, err = filler.Write(make([]byte, 4096))
	}
	_, err = m.VM.Start(t.Context(), inst.ID)
	require.ErrorIs(t, err, errors.ErrMaqet)
	require.Empty(t, processesOf(t, dir))

	require.NoError(t, filler.Truncate(0))
	_, err = m.VM.Start(t.Context(), inst.ID)
	require.NoError(t, err, "with room again the same VM starts")
	_, err = m.VM.Stop(t.Context(), inst.ID, vm.Force())
	require.NoError(t, err)
}

// TestCancelAtEachStep cancels a real start as each of its steps begins.
func TestCancelAtEachStep(t *testing.T) {
	dir := shortDir(t)
	m := open(t, dir)
	for _, step := range []string{vm.StepValidate, vm.StepLock, vm.StepImages, vm.StepLaunch, vm.StepHandshake, vm.StepContinue, vm.StepReady} {
		t.Run(step, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var at time.Time
			_, err := m.Run(ctx, vm.Config{Disks: []vm.Disk{{Size: vm.MiB}}}, vm.OnStep(func(s vm.Step) {
				if s.Name == step && s.Duration == 0 {
					at = time.Now()
					cancel()
				}
			}))
			took := time.Since(at)
			require.ErrorIs(t, err, context.Canceled)
			require.Less(t, took, 2*time.Second)
			t.Logf("returned %v after the cancellation", took)
			requireNothingLeft(t, dir)
		})
	}
}
