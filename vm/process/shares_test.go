package process

import (
	"context"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/internal/guestview"
	"github.com/maqet/maqet/internal/proc"
	"github.com/maqet/maqet/internal/testhost"
	"github.com/maqet/maqet/vm"
)

// realVirtiofsd is what this host has.
func realVirtiofsd(t testing.TB) virtiofsd {
	t.Helper()
	d := newVirtiofsdFinder((*exec.Cmd).Start).find(t.Context())
	testhost.Needs(t, "virtiofsd", d.refuses(false))
	return d
}

// sharing is a configuration with a read-only and a writable share.
func twoShares(t testing.TB, l vm.Lifetime) vm.Config {
	t.Helper()
	realVirtiofsd(t)
	return vm.Config{Lifetime: l, Shares: []vm.Share{{Path: t.TempDir(), Type: vm.ShareVirtiofs}, {Name: "a,b=c", Path: t.TempDir(), Writable: true, Type: vm.ShareVirtiofs}}}
}

// hold takes hold of recorded processes, so that their ends can be waited for.
func holdAll(t testing.TB, inst vm.Instance) []*proc.Handle {
	t.Helper()
	var held []*proc.Handle
	for _, p := range append([]vm.Helper{{Process: inst.Runtime.Process}}, inst.Runtime.Helpers...) {
		handle, err := proc.Open(proc.ID(p.Process))
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, handle.Close()) })
		held = append(held, handle)
	}
	return held
}

// TestVirtiofsdAndItsOwner: whoever of QEMU and the owner is killed, virtiofsd is gone when
// both are, or QEMU is; with a persistent guest it outlives the owner.
func TestVirtiofsdAndItsOwner(t *testing.T) {
	h := newHouse(t)
	t.Run("ephemeral", func(t *testing.T) {
		p, inst := h.own(specOf(twoShares(t, vm.Ephemeral)))
		held := holdAll(t, inst)
		require.Len(t, held, 3)
		p.kill()
		for _, handle := range held {
			require.NoError(t, handle.Wait(patient(t)))
		}
		require.NoError(t, h.b.Clean(t.Context(), inst))
	})
	t.Run("persistent, QEMU dies unseen", func(t *testing.T) {
		p, inst := h.own(specOf(twoShares(t, vm.Persistent)))
		held := holdAll(t, inst)
		p.kill()
		require.True(t, proc.Alive(held[1].ID()))
		require.NoError(t, held[0].Signal(unix.SIGKILL))
		for _, handle := range held {
			require.NoError(t, handle.Wait(patient(t)))
		}
		require.NoError(t, h.b.Clean(t.Context(), inst))
	})
	t.Run("persistent, QEMU stops as another process asks", func(t *testing.T) {
		p, inst := h.own(specOf(twoShares(t, vm.Persistent)))
		held := holdAll(t, inst)
		p.kill()
		g, err := h.b.Attach(patient(t), inst)
		require.NoError(t, err)
		require.Equal(t, inst.Runtime.Helpers, g.Runtime().Helpers)
		require.NoError(t, rung(g, "quit").Run(patient(t)))
		gone(t, g.Done())
		for _, handle := range held {
			require.NoError(t, handle.Wait(patient(t)))
		}
		require.NoError(t, g.Release())
		require.NoError(t, h.b.Clean(t.Context(), inst))
	})
}

// TestLostHelper: a helper that ends before the guest is told, and the guest goes on.
func TestLostHelper(t *testing.T) {
	h := newHouse(t)
	g, _ := h.running(twoShares(t, vm.Ephemeral))
	helpers := g.Runtime().Helpers
	require.NoError(t, unix.Kill(helpers[1].Process.PID, unix.SIGKILL))
	select {
	case lost := <-g.LostHelpers():
		require.Equal(t, "virtiofsd a,b=c", lost.Name)
		require.Equal(t, helpers[1].Process, lost.Process)
		require.Equal(t, "SIGKILL", lost.Exit.Signal)
	case <-patient(t).Done():
		t.Fatal("nobody was told")
	}
	ask[any](t, g, "query-status", nil)
	require.NoError(t, rung(g, "quit").Run(patient(t)))
	gone(t, g.Done())
	requireHelpersGone(t, g.Runtime())
	require.Empty(t, g.LostHelpers(), "the end of the other one was QEMU's")
}

// TestTags: QEMU takes what the guest mounts a share by as it is.
func TestTags(t *testing.T) {
	h := newHouse(t)
	d := realVirtiofsd(t)
	odd := `,readonly=off,"' ü%s=\`
	dir := filepath.Join(t.TempDir(), odd)
	require.NoError(t, os.Mkdir(dir, 0o700))
	g, _ := h.running(vm.Config{Shares: []vm.Share{
		{Name: odd, Path: dir, Type: vm.Share9p}, {Name: odd + "2", Path: dir}}})
	for device, property := range map[string]string{"share0": "mount_tag", "share1": "tag"} {
		tag := ask[string](t, g, "qom-get", map[string]string{"path": "/machine/peripheral/" + device, "property": property})
		require.Equal(t, odd, strings.TrimSuffix(tag, "2"))
	}
	require.Equal(t, d.path, binaryPath(t, g.Runtime().Helpers[0].Process.PID))
}

func binaryPath(t testing.TB, pid int) string {
	t.Helper()
	path, err := os.Readlink(filepath.Join("/proc", fmtInt(pid), "exe"))
	require.NoError(t, err)
	return path
}

// TestSharesOfMicrovm: it has both kinds without a PCI bus.
func TestSharesOfMicrovm(t *testing.T) {
	h := newHouse(t)
	cfg := twoShares(t, vm.Ephemeral)
	cfg.Machine, cfg.Shares[0].Type = "microvm", vm.Share9p
	g, _ := h.running(cfg)
	require.Equal(t, "share0", ask[string](t, g, "qom-get", map[string]string{"path": "/machine/peripheral/share0", "property": "mount_tag"}))
	require.Len(t, g.Runtime().Helpers, 1)
}

// TestSharesRefused: what can't be had is said by the field, before anything is started.
func TestSharesRefused(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	none, old := virtiofsd{}, virtiofsd{path: "/bin/virtiofsd", rust: true}
	for name, c := range map[string]struct {
		d     virtiofsd
		cfg   vm.Config
		field string
		says  string
	}{
		"no folder":         {cfg: vm.Config{Shares: []vm.Share{{Path: dir + "/none", Type: vm.Share9p}}}, field: "shares[0].path", says: "no such file"},
		"a file":            {cfg: vm.Config{Shares: []vm.Share{{Path: dir, Type: vm.Share9p}, {Path: file, Type: vm.Share9p}}}, field: "shares[1].path", says: "not a folder"},
		"no virtiofsd":      {d: none, cfg: vm.Config{Shares: []vm.Share{{Path: dir, Type: vm.ShareVirtiofs}}}, field: "shares[0].type", says: "was not found"},
		"old virtiofsd":     {d: old, cfg: vm.Config{Shares: []vm.Share{{Path: dir, Type: vm.ShareVirtiofs}}}, field: "shares[0].type", says: "--readonly"},
		"long tag":          {d: none, cfg: vm.Config{Shares: []vm.Share{{Name: strings.Repeat("x", 32), Path: dir}}}, field: "shares[0].name", says: "31"},
		"plugged memory":    {d: old, cfg: vm.Config{MaxMemory: vm.GiB, Shares: []vm.Share{{Path: dir, Writable: true}}}, field: "max_memory", says: "shares[0]"},
		"long command line": {d: none, cfg: vm.Config{Shares: []vm.Share{{Path: dir, Mount: "/" + strings.Repeat(" ", 700)}}}, field: "boot.cmdline", says: "2047"},
		"name of another":   {d: none, cfg: vm.Config{Disks: []vm.Disk{{Name: "share0", Size: vm.GiB}}, Shares: []vm.Share{{Path: dir}}}, field: "shares[0]", says: "share0"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := build(rehearsal(fixedID, c.cfg), with(func(f *hostFacts) { f.virtiofsd = c.d }), paths)
			var bad *errors.ConfigError
			require.ErrorAs(t, err, &bad)
			require.True(t, bad.Has(c.field), err)
			require.ErrorContains(t, err, c.says)
		})
	}
}

// TestShareTypes: what is chosen when the configuration does not say.
func TestShareTypes(t *testing.T) {
	dir := t.TempDir()
	for name, c := range map[string]struct {
		d        virtiofsd
		writable bool
		want     string
	}{
		"none":                  {want: vm.Share9p},
		"rust":                  {d: virtiofsd{path: "v", rust: true, readOnly: true}, want: vm.ShareVirtiofs},
		"old rust":              {d: virtiofsd{path: "v", rust: true}, want: vm.Share9p},
		"old rust, writable":    {d: virtiofsd{path: "v", rust: true}, writable: true, want: vm.ShareVirtiofs},
		"something else":        {d: virtiofsd{path: "v", problem: errors.New("what is it?")}, want: vm.Share9p},
		"something else, write": {d: virtiofsd{path: "v", problem: errors.New("what is it?")}, writable: true, want: vm.Share9p},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := vm.Config{Shares: []vm.Share{{Path: dir, Writable: c.writable}}}
			plan, err := build(rehearsal(fixedID, cfg), with(func(f *hostFacts) { f.virtiofsd = c.d }), paths)
			require.NoError(t, err)
			shared := strings.Contains(valueOf(plan.commandLine(), "-machine"), "memory-backend=mem")
			require.Equal(t, c.want == vm.ShareVirtiofs, shared, "memory that virtiofsd sees")
			mode := map[bool]string{false: "ro", true: "rw"}[c.writable]
			require.Contains(t, valueOf(plan.commandLine(), "-append"), "maqet.share="+c.want+","+mode+",share0,/mnt/share0 ")
		})
	}
}

// TestShareWords: whatever a share is called, maqet's own init gets it back from one word
// of the kernel's command line.
func TestShareWords(t *testing.T) {
	for name, text := range nasty {
		cfg := vm.Config{Shares: []vm.Share{{Path: "/", Type: vm.Share9p, Name: strings.ReplaceAll(text, "/", "-"), Mount: "/" + text}}}
		cfg.Shares[0].Mount = filepath.Clean(cfg.Shares[0].Mount)
		if cfg.Validate() != nil {
			continue
		}
		t.Run(name, func(t *testing.T) {
			b := &builder{spec: rehearsal(fixedID, cfg)}
			args := guestview.ShareArgs(b.spec, b.shareType)
			require.Len(t, args, 1)
			require.Len(t, strings.Fields(args[0]), 1)
			require.NotContains(t, args[0], `"`, "quotes are the kernel's")
			parts := strings.Split(args[0], ",")
			require.Len(t, parts, 4)
			for i, want := range []string{cfg.Shares[0].Name, cfg.Shares[0].Mount} {
				got, err := url.PathUnescape(parts[2+i])
				require.NoError(t, err)
				require.Equal(t, want, got)
			}
		})
	}
}

// TestRustVirtiofsd is told by its options, with a stand-in that has them.
func TestRustVirtiofsd(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	stand := func(help string) virtiofsd {
		path := filepath.Join(dir, "virtiofsd")
		require.NoError(t, os.WriteFile(path, []byte("#!/bin/sh\necho '"+help+"'\n"), 0o700))
		require.NoError(t, os.Chtimes(path, time.Time{}, time.Unix(int64(len(help)), 0)))
		return newVirtiofsdFinder((*exec.Cmd).Start).find(t.Context())
	}
	d := stand("--shared-dir <D>\n--readonly")
	require.NoError(t, d.refuses(false))
	require.Subset(t, d.plan("/srv/a,b", false).args, []string{"--fd=3", "--shared-dir=/srv/a,b", "--readonly"})
	require.NotContains(t, d.plan("/srv", true).args, "--readonly")
	d = stand("--shared-dir <D>")
	require.Error(t, d.refuses(false))
	require.NoError(t, d.refuses(true))
	d = stand("a toaster")
	require.ErrorContains(t, d.refuses(true), "no virtiofsd that is known")

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	f := newVirtiofsdFinder((*exec.Cmd).Start)
	require.Error(t, f.find(ctx).refuses(true))
	require.Empty(t, f.known, "an answer that was cut short is not remembered")
}
