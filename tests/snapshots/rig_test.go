package snapshots_test

import (
	"context"
	"path/filepath"

	"github.com/adrg/xdg"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/guest"
	"github.com/maqet/maqet/qmp"
	"github.com/maqet/maqet/snapshot"
	"github.com/maqet/maqet/storage"
	"github.com/maqet/maqet/vm"
	"github.com/maqet/maqet/vm/process"
	"github.com/maqet/maqet/vm/sqlite"
)

// rig is what maqet.New assembles, put together by hand for the one thing that it has no
// option for: to be told of each step.
type rig struct {
	vms     *vm.Manager
	qmp     *qmp.Manager
	images  *storage.Manager
	snaps   *snapshot.Coordinator
	closers []func() error
}

func newRig(dir string, onStep func(context.Context, string)) (r *rig, err error) {
	r = &rig{}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.close())
		}
	}()
	store, err := sqlite.Open(context.Background(), filepath.Join(dir, "maqet.db"))
	if err != nil {
		return r, err
	}
	r.closers = append(r.closers, store.Close)
	cache := filepath.Join(xdg.CacheHome, "maqet")
	backend, err := process.New(process.Options{RuntimeDir: filepath.Join(dir, "run"), LogDir: filepath.Join(dir, "vms"), CacheDir: cache})
	if err != nil {
		return r, err
	}
	r.closers = append(r.closers, backend.Close)
	if r.images, err = storage.NewManager(storage.Options{Root: filepath.Join(dir, "images"), Registry: store}); err != nil {
		return r, err
	}
	keeper, err := snapshot.NewKeeper(snapshot.KeeperOptions{Images: r.images, Records: store, OnStep: onStep})
	if err != nil {
		return r, err
	}
	r.vms, err = vm.NewManager(vm.Options{
		Store: store, Images: r.images, Snapshots: keeper, Dir: dir,
		Backends: map[string]vm.Backend{vm.DefaultBackend: backend}, Booter: guest.NewBooter(guest.BooterOptions{CacheDir: cache}),
	})
	if err != nil {
		return r, err
	}
	r.closers = append(r.closers, r.vms.Close)
	r.qmp = qmp.NewManager(r.vms)
	agent := guest.NewManager(r.vms)
	r.closers = append(r.closers, agent.Close)
	r.snaps, err = snapshot.New(snapshot.Options{Keeper: keeper, VMs: r.vms, Freezer: agent})
	return r, err
}

func (r *rig) close() error {
	var errs []error
	for i := len(r.closers) - 1; i >= 0; i-- {
		errs = append(errs, r.closers[i]())
	}
	return errors.Join(errs...)
}
