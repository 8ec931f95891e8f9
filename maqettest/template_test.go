package maqettest

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet"
	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/vm"
)

// shell runs a command in a Setup.
func shell(text string) SetupFunc {
	return func(ctx context.Context, g *maqet.Machine) error {
		_, err := g.Exec(ctx, "sh", "-c", text)
		return err
	}
}

// unbooted starts a guest without waiting for it to boot, for tests that end before they need it.
func unbooted() Option { return StartOptions(vm.StartPaused()) }

// closeTemplates ends the templates at the end of the test.
func closeTemplates(t *testing.T) {
	t.Helper()
	t.Cleanup(func() { require.NoError(t, Close()) })
}

// TestTemplate: tests that run at once get copies of one guest that has booted once.
func TestTemplate(t *testing.T) {
	needQEMU(t)
	ownTemp(t)
	closeTemplates(t)
	var setups atomic.Int32
	count := func(context.Context, *maqet.Machine) error { setups.Add(1); return nil }
	base := NewTemplate(Memory(192*vm.MiB), Setup(shell("echo base > /tmp/what")), Setup(count))
	fixtures := base.With(shell("cat /tmp/what > /tmp/before; echo fixtures > /tmp/what"), count)
	more := fixtures.With(shell("echo more >> /tmp/what"), count)

	var mu sync.Mutex
	dirs, seen := map[string]int{}, map[string]bool{}
	t.Run("tests", func(t *testing.T) {
		for _, c := range []struct {
			name     string
			template *Template
			what     string
		}{
			{"base", base, "base\n"}, {"base again", base, "base\n"}, {"fixtures", fixtures, "fixtures\n"},
			{"fixtures again", fixtures, "fixtures\n"}, {"more", more, "fixtures\nmore\n"},
		} {
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				g := c.template.Fork(t)
				require.Equal(t, c.what, string(g.ReadFile("/tmp/what")))
				g.WriteFile("/tmp/what", []byte("mine"), 0o600)
				require.Equal(t, "mine", string(g.ReadFile("/tmp/what")))
				mu.Lock()
				defer mu.Unlock()
				dirs[g.home.dir]++
				require.False(t, seen[g.Name()])
				seen[g.Name()] = true
			})
		}
	})
	require.EqualValues(t, 3, setups.Load())
	require.Len(t, dirs, 1, "they share one Maqet")

	// A fork is gone when its test is over.
	var g *Guest
	r := record(t, func(r *recorder) { g = base.Fork(r) })
	require.False(t, r.failed, r.log.String())
	_, err := g.Instance(t.Context())
	require.ErrorIs(t, err, errors.ErrVMNotFound)
	left, err := g.Maqet.VM.List(t.Context(), vm.Filter{})
	require.NoError(t, err)
	require.Empty(t, left)
	require.DirExists(t, g.home.dir)
	requireNoQEMU(t, g.home.dir)

	// Close ends them, and the next Fork begins anew.
	require.NoError(t, Close())
	require.NoDirExists(t, g.home.dir)
	require.Zero(t, program.budget.used)
	r = record(t, func(r *recorder) { base.Fork(r) })
	require.False(t, r.failed, r.log.String())
	require.EqualValues(t, 4, setups.Load())
}

// TestForks: what forks write to disks is theirs, and the report of a test that fails is of its
// fork.
func TestForks(t *testing.T) {
	needQEMU(t)
	ownTemp(t)
	closeTemplates(t)
	tmpl := NewTemplate(Config(vm.Config{Name: "web", Disks: []vm.Disk{{Size: 16 * vm.MiB, Serial: "data"}}}),
		Setup(shell("echo from the template > /dev/vda && sync")))
	t.Run("disks", func(t *testing.T) {
		var before int
		for i := range 3 {
			r := record(t, func(r *recorder) {
				out := string(tmpl.Fork(r).Run("sh", "-c", "head -n 1 /dev/vda; echo from a fork > /dev/vda; sync").Stdout)
				require.Equal(t, "from the template", strings.TrimSpace(out))
			})
			require.False(t, r.failed, r.log.String())
			if i == 0 {
				before = openFiles(t)
			}
			// Who watched the fork lets go of it a moment after its end.
			require.Eventually(t, func() bool { return openFiles(t) <= before }, 30*time.Second, 10*time.Millisecond)
		}
	})
	t.Run("reboot", func(t *testing.T) {
		g := tmpl.Fork(t)
		g.Run("sh", "-c", "echo mine > /dev/vda; sync")
		g.Reboot()
		require.Equal(t, "mine", strings.TrimSpace(string(g.Run("head", "-n", "1", "/dev/vda").Stdout)))
	})
	t.Run("failure", func(t *testing.T) { testForkFails(t, tmpl) })
}

func openFiles(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	return len(list)
}

func testForkFails(t *testing.T, tmpl *Template) {
	var name string
	r := record(t, func(r *recorder) {
		g := tmpl.Fork(r)
		name = g.Name()
		_, err := g.QMP(t.Context(), "query-name", nil)
		require.NoError(t, err)
		g.Run("sh", "-c", "echo noise > /dev/console; exit 3")
	})
	require.True(t, r.failed)
	require.Contains(t, r.log.String(), "exit status 3")
	require.Contains(t, r.log.String(), "the end of "+name+"'s console")
	require.Contains(t, artifact(t, r, name, "console.log"), "noise")
	require.Contains(t, artifact(t, r, name, "qmp.log"), `-> {"execute":"query-name"}`)
	require.Contains(t, artifact(t, r, name, "qemu-args.txt"), "-incoming")
	script := artifact(t, r, name, "reproduce.sh")
	require.NotContains(t, script, "-incoming")
	require.Contains(t, script, "a fork of web")
	require.Contains(t, script, "-kernel")
	vms, err := os.ReadDir(r.artifacts)
	require.NoError(t, err)
	require.Len(t, vms, 1, "and not of others")
}

// TestTemplateFails: all tests fail with what went wrong, and the first failure is the only one
// that takes its time.
func TestTemplateFails(t *testing.T) {
	needQEMU(t)
	ownTemp(t)
	closeTemplates(t)
	var setups atomic.Int32
	why := errors.New("no fixtures today")
	base := NewTemplate(Config(vm.Config{Name: "base"}))
	broken := base.With(shell("echo tried > /dev/console"), func(ctx context.Context, g *maqet.Machine) error {
		setups.Add(1)
		_, err := g.QMP(ctx, "query-name", nil)
		return errors.Join(why, err)
	})
	below := broken.With(func(context.Context, *maqet.Machine) error { setups.Add(1); return nil })
	for _, tmpl := range []*Template{broken, broken, below} {
		r := record(t, func(r *recorder) {
			tmpl.Fork(r)
			t.Error("Fork went on")
		})
		require.True(t, r.failed)
		require.Contains(t, r.log.String(), "no fixtures today")
		require.Contains(t, r.log.String(), "base-1's console")
		require.Contains(t, artifact(t, r, "base-1", "console.log"), "tried")
		require.Contains(t, artifact(t, r, "base-1", "qmp.log"), `-> {"execute":"query-name"}`)
	}
	require.EqualValues(t, 1, setups.Load())
	r := record(t, func(r *recorder) { base.Fork(r).Run("true") })
	require.False(t, r.failed, "the one below works")
	require.Equal(t, memoryOf(vm.Config{}), program.budget.used)
}

// TestTemplateFailsToBoot, and leaves nothing.
func TestTemplateFailsToBoot(t *testing.T) {
	needQEMU(t)
	temp := ownTemp(t)
	closeTemplates(t)
	tmpl := NewTemplate(Config(vm.Config{Name: "odd", Args: []string{"-device", "no-such-device"}}))
	for range 2 {
		r := record(t, func(r *recorder) { tmpl.Fork(r) })
		require.True(t, r.failed)
		require.Contains(t, r.log.String(), "no-such-device")
		require.Contains(t, artifact(t, r, "odd", "qemu.log"), "no-such-device")
		left, err := filepath.Glob(filepath.Join(temp, dirPrefix+"*"))
		require.NoError(t, err)
		require.Empty(t, left)
	}
}

func TestTemplateSetupThatEndsItsGoroutine(t *testing.T) {
	needQEMU(t)
	closeTemplates(t)
	inner := &recorder{}
	tmpl := NewTemplate(unbooted(), Setup(func(context.Context, *maqet.Machine) error {
		inner.Fatalf("of some test")
		return nil
	}))
	r := record(t, func(r *recorder) { tmpl.Fork(r) })
	require.True(t, r.failed)
	require.Contains(t, r.log.String(), "must return an error")
}

func TestForkWithoutQEMU(t *testing.T) {
	ownTemp(t)
	closeTemplates(t)
	t.Setenv("MAQET_QEMU", "/nowhere/qemu-system-x86_64")
	tmpl := NewTemplate()
	child := tmpl.With(func(context.Context, *maqet.Machine) error { return nil })
	for i, tmpl := range []*Template{tmpl, child, tmpl} {
		require1 := i == 1
		t.Setenv("MAQET_REQUIRE", map[bool]string{true: "1"}[require1])
		r := record(t, func(r *recorder) {
			tmpl.Fork(r)
			t.Error("Fork went on")
		})
		require.Equal(t, require1, r.failed)
		require.Equal(t, !require1, r.skipped)
		require.Contains(t, r.log.String(), "/nowhere/qemu-system-x86_64")
	}
}

// TestTemplateOutlivesItsFirstTest: the test that has begun to make the template ends before it
// is ready. It goes on for the others.
func TestTemplateOutlivesItsFirstTest(t *testing.T) {
	needQEMU(t)
	closeTemplates(t)
	begun, goOn := make(chan struct{}), make(chan struct{})
	var setups atomic.Int32
	tmpl := NewTemplate(unbooted(), Setup(func(ctx context.Context, _ *maqet.Machine) error {
		setups.Add(1)
		close(begun)
		<-goOn
		if err := ctx.Err(); err != nil {
			return err
		}
		return errors.New("it has gone on")
	}))
	r := record(t, func(r *recorder) {
		go func() {
			<-begun
			r.cancel()
		}()
		tmpl.Fork(r)
	})
	require.True(t, r.failed)
	require.Contains(t, r.log.String(), "the test has ended")
	close(goOn)
	r = record(t, func(r *recorder) { tmpl.Fork(r) })
	require.Contains(t, r.log.String(), "it has gone on")
	require.EqualValues(t, 1, setups.Load())
}

// TestCloseEndsWhatBoots: Close does not wait for a template that takes its time.
func TestCloseEndsWhatBoots(t *testing.T) {
	needQEMU(t)
	ownTemp(t)
	begun := make(chan struct{})
	tmpl := NewTemplate(unbooted(), Setup(func(ctx context.Context, _ *maqet.Machine) error {
		close(begun)
		<-ctx.Done()
		return ctx.Err()
	}))
	var wg sync.WaitGroup
	var r *recorder
	wg.Go(func() { r = record(t, func(r *recorder) { tmpl.Fork(r) }) })
	<-begun
	require.NoError(t, Close())
	wg.Wait()
	require.True(t, r.failed)
	require.Contains(t, r.log.String(), "canceled")
	require.Zero(t, program.budget.used)
}
