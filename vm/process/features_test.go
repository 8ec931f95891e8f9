package process

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
)

// counting returns a prober that counts how often it starts a binary.
func counting(dir string) (*prober, *atomic.Int32) {
	var n atomic.Int32
	return newProber(dir, func(cmd *exec.Cmd) error {
		n.Add(1)
		// The thread of a test lives longer than a probe.
		return cmd.Start()
	}), &n
}

// fakeQEMU is a program that is the real QEMU, but whose file is the test's.
func fakeQEMU(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "qemu")
	require.NoError(t, os.WriteFile(path, []byte("#!/bin/sh\nexec qemu-system-x86_64 \"$@\"\n"), 0o700))
	return path
}

func TestAskedOnce(t *testing.T) {
	needQEMU(t)
	dir, binary := filepath.Join(t.TempDir(), "cache"), fakeQEMU(t)
	p, asked := counting(dir)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			f, err := p.features(t.Context(), binary)
			if err != nil || f.Arch != "x86_64" || !f.Sandbox || f.Aliases["q35"] == "" || len(f.Machines) < 5 {
				t.Errorf("%+v %v", f, err)
			}
		})
	}
	wg.Wait()
	require.EqualValues(t, 1, asked.Load())

	other, again := counting(dir)
	_, err := other.features(t.Context(), binary)
	require.NoError(t, err)
	require.Zero(t, again.Load(), "another process finds the answer in the file")

	require.NoError(t, os.Chtimes(binary, time.Time{}, time.Unix(1, 0)))
	_, err = other.features(t.Context(), binary)
	require.NoError(t, err)
	require.EqualValues(t, 1, again.Load(), "another mtime")

	require.NoError(t, os.WriteFile(binary, []byte("#!/bin/sh\n# longer\nexec qemu-system-x86_64 \"$@\"\n"), 0o700))
	require.NoError(t, os.Chtimes(binary, time.Time{}, time.Unix(1, 0)))
	_, err = other.features(t.Context(), binary)
	require.NoError(t, err)
	require.EqualValues(t, 2, again.Load(), "another size")
}

func TestBadCache(t *testing.T) {
	needQEMU(t)
	binary := fakeQEMU(t)
	for name, text := range map[string]string{"empty": "", "garbage": "\x00{", "null": "null", "foreign": `{"Path":"/other"}`} {
		t.Run(name, func(t *testing.T) {
			p, asked := counting(t.TempDir())
			require.NoError(t, os.WriteFile(p.file(binary), []byte(text), 0o600))
			_, err := p.features(t.Context(), binary)
			require.NoError(t, err)
			require.EqualValues(t, 1, asked.Load())
			got, err := p.load(binary)
			require.NoError(t, err, "it is mended")
			require.Equal(t, binary, got.Path)
		})
	}
	t.Run("unwritable", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "file")
		require.NoError(t, os.WriteFile(dir, nil, 0o600)) // not a folder: root can't write to it either
		p, asked := counting(filepath.Join(dir, "qemu"))
		for range 2 {
			_, err := p.features(t.Context(), binary)
			require.NoError(t, err)
		}
		require.EqualValues(t, 1, asked.Load(), "remembered in memory")
	})
}

// TestProbeOfSomethingElse: a program that is no QEMU does not hold anybody up, and
// nothing of it stays.
func TestProbeOfSomethingElse(t *testing.T) {
	p, _ := counting(t.TempDir())
	hangs := filepath.Join(t.TempDir(), "hangs")
	require.NoError(t, os.WriteFile(hangs, []byte("#!/bin/sh\nexec sleep 100\n"), 0o700))
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	begun := time.Now()
	_, err := p.features(ctx, hangs)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Less(t, time.Since(begun), 2*time.Second)

	fails := filepath.Join(t.TempDir(), "fails")
	require.NoError(t, os.WriteFile(fails, []byte("#!/bin/sh\necho out of order >&2\nexit 3\n"), 0o700))
	_, err = p.features(t.Context(), fails)
	require.ErrorIs(t, err, errors.ErrQEMUNotFound)
	require.ErrorContains(t, err, "out of order")
	_, err = p.features(t.Context(), "/nowhere")
	require.ErrorIs(t, err, errors.ErrQEMUNotFound)
}

// TestScriptThatRunsAnother: a QEMU behind a script is asked again when it was replaced, though
// the script is the same.
func TestScriptThatRunsAnother(t *testing.T) {
	needQEMU(t)
	dir := t.TempDir()
	program, err := exec.LookPath("qemu-system-x86_64")
	require.NoError(t, err)
	prefix := filepath.Dir(filepath.Dir(program)) // from where QEMU finds its modules
	require.NoError(t, os.Symlink(filepath.Join(prefix, "lib"), filepath.Join(dir, "lib")))
	require.NoError(t, os.Mkdir(filepath.Join(dir, "bin"), 0o700))
	copied := filepath.Join(dir, "bin", "real")
	require.NoError(t, exec.Command("cp", "-L", program, copied).Run())
	script := filepath.Join(dir, "qemu")
	require.NoError(t, os.WriteFile(script, []byte("#!/bin/sh\nexec '"+copied+"' \"$@\"\n"), 0o700))

	cache := t.TempDir()
	p, asked := counting(cache)
	first, err := p.features(t.Context(), script)
	require.NoError(t, err)
	require.Equal(t, copied, first.Executable)
	require.Equal(t, buildOf(copied), first.Build)
	require.Equal(t, "pc.ram", first.RAM[first.Aliases["q35"]])
	require.Equal(t, "microvm.ram", first.RAM["microvm"])

	require.NoError(t, os.Chtimes(copied, time.Time{}, time.Unix(1, 0)))
	for _, p := range []*prober{p, newProber(cache, func(cmd *exec.Cmd) error { asked.Add(1); return cmd.Start() })} {
		again, err := p.features(t.Context(), script)
		require.NoError(t, err)
		require.NotEqual(t, first.Build, again.Build)
	}
	require.EqualValues(t, 2, asked.Load(), "once for each build; the second is in the file")
}
