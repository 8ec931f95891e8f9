package snapshot_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/guest"
	"github.com/maqet/maqet/internal/testhost"
	"github.com/maqet/maqet/snapshot"
	"github.com/maqet/maqet/storage"
	"github.com/maqet/maqet/vm"
	"github.com/maqet/maqet/vm/memory"
	"github.com/maqet/maqet/vm/process"
)

// house is maqet without its facade and its database, in folders of its own.
type house struct {
	t          testing.TB
	dir        string
	store      *memory.Store
	images     *storage.Manager
	keeper     *snapshot.Keeper
	vms        *vm.Manager
	guests     *guest.Manager
	snaps      *snapshot.Coordinator
	templates  *snapshot.Templates
	identities snapshot.Identities
	hook       *atomic.Pointer[func(ctx context.Context, step string)]
}

func newHouse(t testing.TB) *house {
	t.Helper()
	_, err := exec.LookPath("qemu-system-x86_64")
	testhost.Needs(t, "QEMU (make setup installs it)", err)
	dir, err := os.MkdirTemp("", "ms-") // t.TempDir would be too long for sockets
	require.NoError(t, err)
	h := &house{t: t, dir: dir, store: memory.New()}
	t.Cleanup(func() {
		require.NoError(t, h.store.Close())
		require.Empty(t, processesOf(t, dir), "processes")
		require.NoError(t, os.RemoveAll(dir))
	})
	h.open()
	t.Cleanup(func() {
		list, err := h.vms.List(context.Background(), vm.Filter{})
		require.NoError(t, err)
		for _, inst := range list { // persistent ones would stay
			require.NoError(t, h.vms.Remove(context.Background(), inst.ID, vm.ForceRemove(), vm.DeleteImages()))
		}
	})
	return h
}

// another returns what another process has that works with the same VMs.
func (h *house) another() *house {
	h.t.Helper()
	other := *h
	other.open()
	return &other
}

// open makes managers that are closed when the test ends.
func (h *house) open() {
	t, dir := h.t, h.dir
	t.Helper()
	hook := new(atomic.Pointer[func(context.Context, string)])
	h.hook = hook
	backend, err := process.New(process.Options{RuntimeDir: dir + "/run", LogDir: dir + "/vms", CacheDir: dir + "/cache"})
	require.NoError(t, err)
	h.images, err = storage.NewManager(storage.Options{Root: dir + "/images", Registry: h.store})
	require.NoError(t, err)
	h.keeper, err = snapshot.NewKeeper(snapshot.KeeperOptions{Images: h.images, Records: h.store,
		OnStep: func(ctx context.Context, step string) {
			if fn := hook.Load(); fn != nil {
				(*fn)(ctx, step)
			}
		}})
	require.NoError(t, err)
	h.templates, err = snapshot.NewTemplates(snapshot.TemplatesOptions{Dir: dir + "/templates", Images: h.images,
		Identities: func() snapshot.Identities { return h.identities }})
	require.NoError(t, err)
	h.vms, err = vm.NewManager(vm.Options{Store: h.store, Images: h.images, Snapshots: h.keeper, Templates: h.templates, Dir: dir,
		Backends: map[string]vm.Backend{vm.DefaultBackend: backend}, Booter: guest.NewBooter(guest.BooterOptions{})})
	require.NoError(t, err)
	h.guests = guest.NewManager(h.vms)
	h.snaps, err = snapshot.New(snapshot.Options{Keeper: h.keeper, VMs: h.vms, Freezer: h.guests, Files: h.guests, Sessions: h.guests, Templates: h.templates})
	h.identities = h.guests
	require.NoError(t, err)
	for _, fn := range []func() error{h.templates.Close, backend.Close, h.vms.Close, h.guests.Close} { // in reverse
		t.Cleanup(func() { require.NoError(t, fn()) })
	}
}

// onStep has fn called before each step of an operation, until it is called with nil.
func (h *house) onStep(fn func(ctx context.Context, step string)) {
	if fn == nil {
		h.hook.Store(nil)
		return
	}
	h.hook.Store(&fn)
}

// in returns the house for a subtest.
func (h *house) in(t testing.TB) *house {
	c := *h
	c.t = t
	return &c
}

// processesOf finds the processes with dir in their command lines.
func processesOf(t testing.TB, dir string) (found []string) {
	t.Helper()
	paths, err := filepath.Glob("/proc/[0-9]*/cmdline")
	require.NoError(t, err)
	for _, path := range paths {
		if data, err := os.ReadFile(path); err == nil && strings.Contains(string(data), dir+"/") {
			found = append(found, path)
		}
	}
	return found
}

// boot adds a VM and starts it, and returns when its agent answers.
func (h *house) boot(cfg vm.Config, opts ...vm.StartOption) vm.Instance {
	h.t.Helper()
	inst, err := h.vms.Add(h.t.Context(), cfg)
	require.NoError(h.t, err)
	return h.start(inst.ID, opts...)
}

func (h *house) start(ref string, opts ...vm.StartOption) vm.Instance {
	h.t.Helper()
	if len(opts) == 0 {
		opts = append(opts, vm.WaitFor(h.guests.Until(guest.AgentReady())))
	}
	inst, err := h.vms.Start(h.t.Context(), ref, opts...)
	require.NoError(h.t, err)
	return inst
}

// sh runs a line of shell in a guest and returns what it prints, without the last line break.
func (h *house) sh(ref, line string) string {
	h.t.Helper()
	res, err := h.guests.Exec(soon(h.t), ref, guest.Command{Args: []string{"sh", "-c", line}})
	require.NoError(h.t, err, "%s: %s%s", line, res.Stdout, res.Stderr)
	return strings.TrimSuffix(string(res.Stdout), "\n")
}

// soon is a context that tells a hang from a slow machine.
func soon(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// names lists a VM's snapshots, all of which have to be whole.
func (h *house) names(ref string) (names []string) {
	h.t.Helper()
	list, err := h.snaps.List(soon(h.t), ref)
	require.NoError(h.t, err)
	for _, s := range list {
		require.Equal(h.t, snapshot.OK, s.Status, "%+v", s)
		names = append(names, s.Name)
	}
	return names
}
