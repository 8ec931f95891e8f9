package maqet_test

import (
	"bytes"
	"crypto/rand"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet"
	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/internal/proc"
	"github.com/maqet/maqet/vm"
)

// sharedFolders makes a folder with a file, a link out of it and a folder within, and another
// one that can be written to.
func sharedFolders(t *testing.T) (readOnly, writable string) {
	t.Helper()
	base := t.TempDir()
	readOnly, writable = filepath.Join(base, "read, only"), filepath.Join(base, `wri"table`)
	require.NoError(t, os.MkdirAll(filepath.Join(readOnly, "sub"), 0o755))
	require.NoError(t, os.Mkdir(writable, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(base, "secret"), []byte("secret"), 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(readOnly, "note"), []byte("from the host"), 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(readOnly, "na me,=ü%"), []byte("odd"), 0o644))
	for _, dir := range []string{readOnly, writable} {
		require.NoError(t, os.Symlink("../secret", filepath.Join(dir, "out")))
		require.NoError(t, os.Symlink(filepath.Join(base, "secret"), filepath.Join(dir, "absolute")))
	}
	return readOnly, writable
}

// TestShares: two folders of the host, one read-only, by each kind of share.
func TestShares(t *testing.T) {
	for _, kind := range []string{vm.ShareVirtiofs, vm.Share9p} {
		t.Run(kind, func(t *testing.T) {
			cfg, size, helpers := vm.Config{}, 64<<20, 2
			if kind == vm.Share9p { // which takes five times as long
				cfg.Boot.Kernel, size, helpers = fullKernel(t), 16<<20, 0
			}
			readOnly, writable := sharedFolders(t)
			const odd = `odd ,=%"ü name`
			cfg.Shares = []vm.Share{
				{Name: odd, Path: readOnly, Type: kind},
				{Path: writable, Type: kind, Writable: true, Mount: "/srv/data"},
			}
			m := open(t, shortDir(t))
			g, err := m.Run(t.Context(), cfg)
			require.NoError(t, err)
			requireHelpers(t, g, helpers, true)
			t.Run("read-only", func(t *testing.T) { shareIsReadOnly(t, g, "/mnt/"+odd, readOnly) })
			t.Run("writable", func(t *testing.T) { shareIsWritable(t, g, "/srv/data", writable, size) })
			t.Run("links", func(t *testing.T) {
				for _, link := range []string{"/mnt/" + odd + "/out", "/mnt/" + odd + "/absolute", "/srv/data/out", "/srv/data/absolute"} {
					out, ok := sh(t, g, "cat '"+link+"'")
					require.False(t, ok, "%s: %s", link, out)
				}
				out, _ := sh(t, g, "ls '/mnt/"+odd+"/..' /srv/data/..")
				require.NotContains(t, out, "secret")
			})
			_, err = g.Stop(t.Context())
			require.NoError(t, err)
			requireHelpers(t, g, helpers, false)
		})
	}
}

// shareIsReadOnly: whatever root in the guest does, the host's folder does not change.
func shareIsReadOnly(t *testing.T, g *maqet.Machine, mount, dir string) {
	out, ok := sh(t, g, "cat '"+mount+"/note' '"+mount+"/na me,=ü%'")
	require.True(t, ok, out)
	require.Equal(t, "from the hostodd", out)
	before := names(t, dir)
	out, ok = sh(t, g, "mount -o remount,rw '"+mount+"'; grep -F /mnt /proc/mounts")
	require.True(t, ok, out)
	require.Contains(t, out, "rw,", "the guest believes that it can write")
	for _, try := range []string{"echo x > new", "echo x >> note", "rm note", "mkdir new", "mv note other", "ln -s x new", "ln note new",
		"chmod 777 note", "chown 1 note", "touch note", ": > note", "mknod new p", "rmdir sub", "mv sub new"} {
		out, ok := sh(t, g, "cd '"+mount+"' && "+try)
		require.False(t, ok, "%s: %s", try, out)
	}
	require.Equal(t, before, names(t, dir))
	data, err := os.ReadFile(filepath.Join(dir, "note"))
	require.NoError(t, err)
	require.Equal(t, "from the host", string(data))
}

// shareIsWritable: what either side writes the other reads.
func shareIsWritable(t *testing.T, g *maqet.Machine, mount, dir string, size int) {
	big := make([]byte, size)
	_, _ = rand.Read(big)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "big"), big, 0o644))
	out, ok := sh(t, g, "cd "+mount+" && mkdir deep && cat big > deep/copy && echo hello > deep/note && chmod 600 deep/note && cat deep/note && sync")
	require.True(t, ok, out)
	require.Equal(t, "hello\n", out)
	got, err := os.ReadFile(filepath.Join(dir, "deep", "copy"))
	require.NoError(t, err)
	require.True(t, bytes.Equal(big, got))
	info, err := os.Stat(filepath.Join(dir, "deep", "note"))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode())
	out, ok = sh(t, g, "cd "+mount+" && rm -r deep big && ls")
	require.True(t, ok, out)
	require.Equal(t, "absolute\nout\n", out)
}

func names(t *testing.T, dir string) (found []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil {
			info, _ := d.Info()
			found = append(found, path+" "+info.Mode().String())
		}
		return err
	})
	require.NoError(t, err)
	return found
}

// requireHelpers checks how many helpers the guest has, or had, and whether they live.
func requireHelpers(t *testing.T, g *maqet.Machine, count int, live bool) {
	t.Helper()
	inst, err := g.Instance(t.Context())
	require.NoError(t, err)
	require.Len(t, inst.Runtime.Helpers, count)
	for _, h := range inst.Runtime.Helpers {
		require.Equal(t, live, proc.Alive(proc.ID(h.Process)), h.Name)
	}
}

// TestShareIsLost: a guest whose virtiofsd dies goes on, and its record says so.
func TestShareIsLost(t *testing.T) {
	m := open(t, shortDir(t))
	events, err := m.VM.Watch(t.Context())
	require.NoError(t, err)
	g, err := m.Run(t.Context(), vm.Config{Shares: []vm.Share{{Path: t.TempDir(), Type: vm.ShareVirtiofs}}})
	require.NoError(t, err)
	inst, err := g.Instance(t.Context())
	require.NoError(t, err)
	require.NoError(t, syscall.Kill(inst.Runtime.Helpers[0].Process.PID, syscall.SIGKILL))
	limit := time.After(30 * time.Second)
	for told := false; !told; {
		select {
		case ev := <-events:
			told = ev.Reason == vm.ReasonHelperEnded+": virtiofsd share0: signal SIGKILL"
			require.True(t, !told || ev.From == vm.Running && ev.To == vm.Running, "%+v", ev)
		case <-limit:
			t.Fatal("nobody was told")
		}
	}
	inst, err = g.Instance(t.Context())
	require.NoError(t, err)
	require.Equal(t, "SIGKILL", inst.Runtime.Helpers[0].Exit.Signal)
	out, ok := sh(t, g, "echo alive")
	require.True(t, ok, out)
	rep, err := g.Stop(t.Context())
	require.NoError(t, err)
	require.True(t, rep.Graceful, "%+v", rep)
}

// TestShareThatTheKernelLacks: a guest that can't have its folder does not come up without.
func TestShareThatTheKernelLacks(t *testing.T) {
	m := open(t, shortDir(t))
	_, err := m.Run(t.Context(), vm.Config{Shares: []vm.Share{{Path: t.TempDir(), Type: vm.Share9p}}})
	var failed *errors.StartError
	require.ErrorAs(t, err, &failed)
	require.Equal(t, vm.StepReady, failed.Step)
	require.Contains(t, failed.Console, "maqet.share=9p,ro,share0,/mnt/share0: mount: this kernel has no 9p")
}
