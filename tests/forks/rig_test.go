package forks_test

import (
	"context"
	"path/filepath"

	"github.com/adrg/xdg"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/guest"
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
	guests  *guest.Manager
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
	images, err := storage.NewManager(storage.Options{Root: filepath.Join(dir, "images"), Registry: store})
	if err != nil {
		return r, err
	}
	templates, err := snapshot.NewTemplates(snapshot.TemplatesOptions{Dir: filepath.Join(dir, "templates"), Images: images,
		Identities: func() snapshot.Identities { return r.guests }})
	if err != nil {
		return r, err
	}
	r.closers = append(r.closers, templates.Close)
	cache := filepath.Join(xdg.CacheHome, "maqet")
	backend, err := process.New(process.Options{RuntimeDir: filepath.Join(dir, "run"), LogDir: filepath.Join(dir, "vms"), CacheDir: cache})
	if err != nil {
		return r, err
	}
	r.closers = append(r.closers, backend.Close)
	keeper, err := snapshot.NewKeeper(snapshot.KeeperOptions{Images: images, Records: store, OnStep: onStep})
	if err != nil {
		return r, err
	}
	r.vms, err = vm.NewManager(vm.Options{
		Store: store, Images: images, Snapshots: keeper, Templates: templates, Dir: dir,
		Backends: map[string]vm.Backend{vm.DefaultBackend: backend}, Booter: guest.NewBooter(guest.BooterOptions{CacheDir: cache}),
	})
	if err != nil {
		return r, err
	}
	r.closers = append(r.closers, r.vms.Close)
	r.guests = guest.NewManager(r.vms)
	r.closers = append(r.closers, r.guests.Close)
	r.snaps, err = snapshot.New(snapshot.Options{Keeper: keeper, VMs: r.vms, Freezer: r.guests, Files: r.guests, Sessions: r.guests, Templates: templates})
	return r, err
}

func (r *rig) close() error {
	var errs []error
	for i := len(r.closers) - 1; i >= 0; i-- {
		errs = append(errs, r.closers[i]())
	}
	return errors.Join(errs...)
}

// sh runs a line of shell in a guest.
func (r *rig) sh(ctx context.Context, ref, line string) error {
	res, err := r.guests.Exec(ctx, ref, guest.Command{Args: []string{"sh", "-c", line}})
	if err == nil && res.ExitCode != 0 {
		err = errors.New(line + ": " + string(res.Stderr))
	}
	return err
}
