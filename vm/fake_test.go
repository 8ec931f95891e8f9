package vm_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/internal/proc"
	"github.com/maqet/maqet/qmp"
	"github.com/maqet/maqet/storage"
	"github.com/maqet/maqet/vm"
	"github.com/maqet/maqet/vm/memory"
)

// fakeBackend runs guests that exist only in this process. Each field that is set
// makes one thing go wrong or stand still.
type fakeBackend struct {
	t   *testing.T
	dir string

	check    func(ctx context.Context) error
	launch   func(ctx context.Context) error
	connect  func(ctx context.Context) error
	resume   func(ctx context.Context) error
	deaf     bool // the guest ignores polite rungs
	agrees   bool // its agent takes the order, and nothing happens
	timeouts vm.Timeouts

	mu      sync.Mutex
	guests  map[string]*fakeGuest
	cleaned map[string]int
	swept   map[string]vm.Runtime // what Clean was told last
	erased  map[string]int
}

func newFakeBackend(t *testing.T) *fakeBackend {
	return &fakeBackend{t: t, dir: t.TempDir(), guests: map[string]*fakeGuest{}, cleaned: map[string]int{}, swept: map[string]vm.Runtime{}, erased: map[string]int{}}
}

func (b *fakeBackend) Check(ctx context.Context, _ string, _ vm.Config) error {
	return call(ctx, b.check)
}

func call(ctx context.Context, fn func(context.Context) error) error {
	if fn == nil {
		return nil
	}
	return fn(ctx)
}

func (b *fakeBackend) Launch(ctx context.Context, spec vm.LaunchSpec) (vm.Guest, error) {
	if err := call(ctx, b.launch); err != nil {
		return nil, err
	}
	self, err := proc.Self()
	require.NoError(b.t, err)
	g := &fakeGuest{
		b: b, id: spec.ID, spec: spec, client: qmp.NewClient(), done: make(chan struct{}), lost: make(chan vm.Helper, 1),
		runtime: vm.Runtime{Process: vm.Process(self), Backend: "process", Accel: "tcg", Args: []string{"qemu"},
			Console: filepath.Join(b.dir, spec.ID+".console"), Stderr: filepath.Join(b.dir, spec.ID+".stderr"), Disks: spec.Images},
	}
	require.NoError(b.t, os.WriteFile(g.runtime.Console, nil, 0o600))
	require.NoError(b.t, os.WriteFile(g.runtime.Stderr, []byte("fake stderr"), 0o600))
	b.mu.Lock()
	defer b.mu.Unlock()
	b.guests[spec.ID] = g
	return g, nil
}

// Attach finds a guest that lives, as a second manager of the same backend does.
func (b *fakeBackend) Attach(ctx context.Context, inst vm.Instance) (vm.Guest, error) {
	b.mu.Lock()
	g := b.guests[inst.ID]
	b.mu.Unlock()
	if g == nil || g.gone() {
		return nil, &errors.Error{Kind: errors.ErrVMNotRunning, Op: "attach"}
	}
	again := &fakeGuest{b: b, id: g.id, client: qmp.NewClient(), done: g.done, runtime: g.runtime, shared: g}
	return again, again.Connect(ctx)
}

func (b *fakeBackend) Clean(_ context.Context, inst vm.Instance) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.cleaned[inst.ID]++
	b.swept[inst.ID] = inst.Runtime
	return nil
}

func (b *fakeBackend) Erase(_ context.Context, inst vm.Instance) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.erased[inst.ID]++
	return nil
}

func (b *fakeBackend) Timeouts(context.Context, vm.Config) vm.Timeouts {
	t := vm.Timeouts{Launch: sec(5), Ready: sec(5), Silence: sec(5), Stop: sec(1)}
	if b.timeouts != (vm.Timeouts{}) {
		t = b.timeouts
	}
	return t
}

func sec(n float64) vm.Duration { return vm.Duration(n * float64(time.Second)) }

func (b *fakeBackend) Close() error { return nil }

func (b *fakeBackend) guest(id string) *fakeGuest {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.guests[id]
}

// fakeGuest answers QMP through a pipe.
type fakeGuest struct {
	b       *fakeBackend
	id      string
	spec    vm.LaunchSpec
	client  *qmp.Client
	runtime vm.Runtime
	lost    chan vm.Helper // helpers that ended
	shared  *fakeGuest     // the first one, for those that were attached later

	mu      sync.Mutex
	conns   []net.Conn
	running bool
	free    bool // released: it can't be signalled any more
	device  bool // QEMU has any device that it is asked for
	exit    errors.ExitStatus
	once    sync.Once
	done    chan struct{}
	wg      sync.WaitGroup
}

func (g *fakeGuest) root() *fakeGuest {
	if g.shared != nil {
		return g.shared
	}
	return g
}

func (g *fakeGuest) Runtime() vm.Runtime { return g.runtime }

func (g *fakeGuest) Connect(ctx context.Context) error {
	if err := call(ctx, g.b.connect); err != nil {
		return err
	}
	ours, theirs := net.Pipe()
	r := g.root()
	r.mu.Lock()
	r.conns = append(r.conns, theirs)
	r.mu.Unlock()
	g.wg.Go(func() { r.serve(theirs) })
	return g.client.Connect(ctx, ours)
}

func (g *fakeGuest) serve(conn net.Conn) {
	_, _ = fmt.Fprint(conn, `{"QMP":{"version":{"qemu":{"major":7,"minor":2,"micro":0},"package":""},"capabilities":[]}}`+"\r\n")
	in := bufio.NewScanner(conn)
	for in.Scan() {
		var req struct{ Execute string }
		if json.Unmarshal(in.Bytes(), &req) != nil {
			return
		}
		g.mu.Lock()
		answer := `{"return":{}}`
		switch req.Execute {
		case "query-status":
			answer = fmt.Sprintf(`{"return":{"status":"x","running":%v}}`, g.running)
		case "cont":
			g.running = true
		case "stop":
			g.running = false
		case "qom-get":
			if answer = `{"return":"virtio-rng-pci"}`; !g.device {
				answer = `{"error":{"class":"DeviceNotFound","desc":"no"}}`
			}
		}
		_, err := fmt.Fprint(conn, answer+"\r\n")
		g.mu.Unlock()
		if err != nil {
			return
		}
		switch req.Execute {
		case "cont":
			g.event("RESUME", "{}")
		case "stop":
			g.event("STOP", "{}")
		}
	}
}

// event sends a QMP event to everybody who is connected.
func (g *fakeGuest) event(name, data string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, c := range g.conns {
		_, _ = fmt.Fprintf(c, `{"timestamp":{"seconds":1,"microseconds":0},"event":%q,"data":%s}`+"\r\n", name, data)
	}
}

// end makes the guest's process end.
func (g *fakeGuest) end(exit errors.ExitStatus) {
	g.once.Do(func() {
		g.mu.Lock()
		g.exit = exit
		for _, c := range g.conns {
			_ = c.Close()
		}
		g.mu.Unlock()
		close(g.done)
	})
}

func (g *fakeGuest) gone() bool {
	select {
	case <-g.done:
		return true
	default:
		return false
	}
}

func (g *fakeGuest) print(t *testing.T, text string) {
	f, err := os.OpenFile(g.runtime.Console, os.O_APPEND|os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = f.WriteString(text)
	require.NoError(t, errors.Join(err, f.Close()))
}

func (g *fakeGuest) QMP() qmp.Conn { return g.client }

func (g *fakeGuest) Dial(context.Context, string, bool) (net.Conn, error) {
	return nil, errors.ErrAgentUnavailable
}

func (g *fakeGuest) Continue(ctx context.Context) error {
	if err := call(ctx, g.b.resume); err != nil {
		return err
	}
	_, err := g.client.Execute(ctx, "cont", nil)
	return err
}

func (g *fakeGuest) Ladder() []vm.StopStep {
	r := g.root()
	polite := func(context.Context) error {
		if !g.b.deaf {
			r.event("SHUTDOWN", `{"guest":true,"reason":"guest-shutdown"}`)
			r.end(errors.ExitStatus{Known: true})
		}
		return nil
	}
	return []vm.StopStep{
		{Name: "agent", Graceful: true, Run: func(ctx context.Context) error {
			if !g.b.agrees {
				return errors.New("no agent")
			}
			<-ctx.Done()
			return nil
		}},
		{Name: "acpi", Graceful: true, Run: polite},
		{Name: "quit", Run: polite},
		{Name: "sigterm", Run: polite},
		{Name: "sigkill", Run: func(context.Context) error {
			if g.released() {
				return errors.ErrVMNotRunning
			}
			r.end(errors.ExitStatus{Known: true, Signal: "SIGKILL"})
			return nil
		}},
	}
}

func (g *fakeGuest) LostHelpers() <-chan vm.Helper { return g.lost }

func (g *fakeGuest) Done() <-chan struct{} { return g.done }

func (g *fakeGuest) Exit() errors.ExitStatus {
	r := g.root()
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.exit
}

func (g *fakeGuest) released() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.free
}

func (g *fakeGuest) Release() error {
	g.mu.Lock()
	g.free = true
	g.mu.Unlock()
	err := g.client.Close()
	g.wg.Wait()
	return err
}

// fakeBooter boots nothing; fakeImages makes no images.
type fakeBooter struct {
	resolve func(ctx context.Context) error
	files   vm.BootFiles
}

func (b *fakeBooter) ResolveBoot(ctx context.Context, _ vm.Config) (vm.BootFiles, error) {
	return b.files, call(ctx, b.resolve)
}

type fakeImages struct {
	mu      sync.Mutex
	present map[string]bool
	fail    string // path ending for which Create fails
	isos    []storage.ISOSpec
}

func (f *fakeImages) Create(_ context.Context, s storage.CreateSpec) (storage.Image, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fail != "" && filepath.Base(s.Path) == f.fail {
		return storage.Image{}, errors.ErrImageCreation
	}
	f.present[s.Path] = true
	if err := os.MkdirAll(filepath.Dir(s.Path), 0o700); err != nil {
		return storage.Image{}, err
	}
	if err := os.WriteFile(s.Path, []byte("image"), 0o600); err != nil {
		return storage.Image{}, err
	}
	return storage.Image{Path: s.Path, Format: s.Format}, nil
}

func (f *fakeImages) Overlay(ctx context.Context, s storage.OverlaySpec) (storage.Image, error) {
	return f.Create(ctx, storage.CreateSpec{Path: s.Path, Format: storage.FormatQcow2})
}

func (f *fakeImages) ISO(ctx context.Context, s storage.ISOSpec) (storage.Image, error) {
	f.mu.Lock()
	f.isos = append(f.isos, s)
	f.mu.Unlock()
	return f.Create(ctx, storage.CreateSpec{Path: s.Path, Format: storage.FormatRaw})
}

func (f *fakeImages) Usable(_ context.Context, path, format string, _ bool, _ ...storage.Secret) ([]storage.Image, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.present[path] {
		return nil, &storage.ImageError{Kind: errors.ErrImageNotFound, Path: path, Msg: "does not exist", Fix: "bring the image back"}
	}
	return []storage.Image{{Path: path, Format: format}}, nil
}

func (f *fakeImages) Delete(_ context.Context, path string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.present, path)
	if err := os.Remove(path); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// Files returns what is there below the owner's folder.
func (f *fakeImages) Files(_ context.Context, filter storage.FileFilter) (list []storage.File, _ error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for path := range f.present {
		file := storage.File{Path: path, Owner: filepath.Base(filepath.Dir(path))}
		if filter.Matches(file) {
			list = append(list, file)
		}
	}
	return list, nil
}

func (f *fakeImages) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.present)
}

// bench is a manager on fakes.
type bench struct {
	*vm.Manager
	store   *memory.Store
	backend *fakeBackend
	booter  *fakeBooter
	images  *fakeImages
	dir     string
}

func newBench(t *testing.T) *bench {
	b := &bench{store: memory.New(), backend: newFakeBackend(t), booter: &fakeBooter{},
		images: &fakeImages{present: map[string]bool{}}, dir: t.TempDir()}
	b.Manager = b.second(t)
	return b
}

// second returns another manager on the same store, folder and backend, as another
// process would have.
func (b *bench) second(t *testing.T) *vm.Manager { return b.over(t, b.store) }

// over returns another manager whose store goes wrong at times.
func (b *bench) over(t *testing.T, store vm.Store) *vm.Manager {
	m, err := vm.NewManager(vm.Options{Store: store, Images: b.images, Booter: b.booter, Dir: b.dir,
		Backends: map[string]vm.Backend{"process": b.backend}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, m.Close()) })
	return m
}

func (b *bench) add(t *testing.T, cfg vm.Config) vm.Instance {
	inst, err := b.Add(t.Context(), cfg)
	require.NoError(t, err)
	return inst
}

func (b *bench) start(t *testing.T, cfg vm.Config, opts ...vm.StartOption) vm.Instance {
	inst, err := b.Start(t.Context(), b.add(t, cfg).ID, opts...)
	require.NoError(t, err)
	t.Cleanup(func() { b.backend.guest(inst.ID).end(errors.ExitStatus{Known: true}) })
	return inst
}

// await waits until the VM has this state.
func (b *bench) await(t *testing.T, ref string, states ...vm.State) vm.Instance {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	inst, err := b.Wait(ctx, ref, states...)
	require.NoError(t, err)
	return inst
}
