package libvirt

import (
	"context"
	"net/url"
	"strings"

	"github.com/digitalocean/go-libvirt"
	"libvirt.org/go/libvirtxml"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/storage"
	"github.com/maqet/maqet/vm"
)

var _ vm.Migrator = (*guest)(nil)

// Migrate implements vm.Migrator. The two hosts' libvirtd do it between them: that of the guest's
// host has to reach the other one by its URI, without the parameters, which are this process's
// files. Disks that were made for the VM become volumes of their own there; what stands on a base
// here does not there. What the guest reads only is copied, too.
func (g *guest) Migrate(ctx context.Context, inst vm.Instance, to vm.Backend) (vm.Guest, error) {
	m := &migration{g: g, inst: inst, paths: map[string]string{}}
	if err := m.check(to); err != nil {
		return nil, err
	}
	next, err := m.run(ctx)
	if err != nil {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTime)
		defer cancel()
		return nil, errors.Join(errors.Wrap(errors.ErrVMLifecycle, "migrate VM", g.name, err), m.undo(ctx))
	}
	return next, nil
}

// migration is a move under way.
type migration struct {
	g     *guest
	to    *Backend
	inst  vm.Instance
	paths map[string]string // on the other host, by those here
	made  []string          // volumes of the other host
	left  []string          // volumes of this host that are not needed any more
	disks bool              // there are disks to copy
}

// check refuses what can't be moved.
func (m *migration) check(to vm.Backend) error {
	refuse := func(message, hint string) error {
		return &errors.Error{Kind: errors.ErrInvalidConfiguration, Op: "migrate VM", VM: m.g.name, Msg: message, Hint: hint}
	}
	other, ok := to.(*Backend)
	switch {
	case !ok:
		return refuse("the other backend is no libvirt", "migrate it to another libvirt host")
	case ephemeral(m.inst.Config):
		return refuse("it is ephemeral: its host ends it with this process's connection", `set lifetime to "persistent"`)
	case other.host.local():
		return refuse("the other libvirt has the URI "+other.host.endpoint.String()+", by which no other host can reach it", "give it as qemu+tls://HOST/system")
	case m.g.b.volumes == nil || other.volumes == nil:
		return refuse("its host uses files of this one", "use hosts of the driver qemu:///system")
	case len(m.inst.Runtime.Disks) < len(m.inst.Config.Disks): // see reconstruct
		return refuse("it is not recorded which images its disks have: the process that started it died too early", "stop it and start it again")
	}
	for i, d := range m.inst.Config.Disks {
		if d.Path != "" && !d.IsReadOnly() && !m.inst.Runtime.Disks[i].Device && m.inst.Runtime.Disks[i].Path != "" {
			return refuse("its disk "+d.NameAt(i)+" is an image of the host's that maqet did not make", "give the image as a base")
		}
	}
	m.to = other
	return nil
}

func (m *migration) run(ctx context.Context) (vm.Guest, error) {
	if err := m.prepare(ctx); err != nil {
		return nil, err
	}
	live, lasting, err := m.describe(ctx)
	if err != nil {
		return nil, err
	}
	if err := m.perform(ctx, live, lasting); err != nil {
		if !isAnswer(err) && len(m.made) > 0 { // the guest may be about to be there
			m.g.b.log.WarnContext(ctx, "it is not known where a VM went: its volumes are left on both hosts", "vm", m.g.name, "volumes", m.made)
			m.made = nil
		}
		return nil, err
	}
	// It is there now, whatever becomes of ctx.
	ctx = context.WithoutCancel(ctx)
	inst := m.inst
	inst.Runtime = m.runtime()
	next, err := m.to.Attach(ctx, inst)
	if err != nil {
		m.made = nil
		return nil, err
	}
	for _, file := range m.left {
		if err := m.g.b.volumes.Delete(ctx, file); err != nil {
			m.g.b.log.WarnContext(ctx, "volume left on the host that a VM was on", "vm", m.g.name, "volume", file, "error", err)
		}
	}
	return next, nil
}

// undo deletes what was made on the other host. The guest runs on where it was.
func (m *migration) undo(ctx context.Context) error {
	var errs []error
	for _, file := range m.made {
		errs = append(errs, m.to.volumes.Delete(ctx, file))
	}
	return errors.Join(errs...)
}

// prepare makes all images that the guest needs on the other host.
func (m *migration) prepare(ctx context.Context) error {
	rt := m.inst.Runtime
	for _, img := range rt.Disks {
		if !img.Owned {
			continue
		}
		if err := m.empty(ctx, img); err != nil {
			return errors.Wrap(errors.ErrStorage, "prepare disk "+img.Name, "", err)
		}
	}
	if rt.Seed != "" {
		if err := m.seed(ctx, rt.Seed); err != nil {
			return err
		}
	}
	xml, err := m.xml(ctx, 0)
	if err != nil {
		return err
	}
	var dom libvirtxml.Domain
	if err := dom.Unmarshal(xml); err != nil {
		return err
	}
	for _, file := range filesOf(&dom) {
		if err := m.copy(ctx, *file); err != nil {
			return err
		}
	}
	return nil
}

// filesOf returns the paths of all images of a domain, and of what it boots.
func filesOf(dom *libvirtxml.Domain) (files []*string) {
	if dom.OS != nil {
		files = append(files, &dom.OS.Kernel, &dom.OS.Initrd)
		// Firmware that is no copy of a file of this process's comes with the host.
		if l := dom.OS.Loader; l != nil && strings.Contains(l.Path, "/"+contentPrefix) {
			files = append(files, &l.Path)
		}
	}
	if dom.Devices == nil {
		return files
	}
	for _, d := range dom.Devices.Disks {
		if d.Source != nil && d.Source.File != nil {
			files = append(files, &d.Source.File.File)
		}
	}
	return files
}

func (m *migration) xml(ctx context.Context, flags libvirt.DomainXMLFlags) (string, error) {
	dom := m.g.domain()
	return ask(ctx, m.g.b.host.call, "describe VM", m.g.name, func(l *libvirt.Libvirt) (string, error) {
		return l.DomainGetXMLDesc(dom, flags)
	})
}

// empty makes the volume that a disk is copied to.
func (m *migration) empty(ctx context.Context, img vm.Image) error {
	size, err := m.g.b.volumes.virtualSize(ctx, img.Path, img.Path, img.Format)
	if err != nil {
		return err
	}
	path, err := m.to.volumes.ImagePath(ctx, m.inst.ID, img.Name+"."+img.Format)
	if err != nil {
		return err
	}
	_, err = m.to.volumes.Create(ctx, storage.CreateSpec{Path: path, Format: img.Format, Size: size,
		For: storage.For{Owner: m.inst.ID, Disk: img.Name}})
	if err == nil {
		m.paths[img.Path], m.disks = path, true
		m.made, m.left = append(m.made, path), append(m.left, img.Path)
	}
	return err
}

// copy makes sure that the other host has a file that is only read.
func (m *migration) copy(ctx context.Context, file string) error {
	if file == "" || m.paths[file] != "" {
		return nil
	}
	path, err := m.to.volumes.adopt(ctx, m.g.b.volumes, file)
	m.paths[file] = path
	return err
}

func (m *migration) seed(ctx context.Context, file string) error {
	path, err := m.to.volumes.ImagePath(ctx, m.inst.ID, "seed.iso")
	if err != nil {
		return err
	}
	if err := m.to.volumes.double(ctx, m.g.b.volumes, file, path, storage.For{Owner: m.inst.ID, Kind: storage.KindISO}); err != nil {
		return err
	}
	m.paths[file] = path
	m.made, m.left = append(m.made, path), append(m.left, file)
	return nil
}

// describe returns what the domain is on the other host: as it runs, and as it is defined.
func (m *migration) describe(ctx context.Context) (live, lasting string, err error) {
	const whole = libvirt.DomainXMLMigratable | libvirt.DomainXMLSecure
	if live, err = m.xml(ctx, whole); err == nil {
		live, err = m.translate(live)
	}
	if err != nil {
		return "", "", err
	}
	if lasting, err = m.xml(ctx, whole|libvirt.DomainXMLInactive); err == nil {
		lasting, err = m.translate(lasting)
	}
	return live, lasting, err
}

// translate puts the other host's paths into a domain's description.
func (m *migration) translate(xml string) (string, error) {
	var dom libvirtxml.Domain
	if err := dom.Unmarshal(xml); err != nil {
		return "", err
	}
	for _, file := range filesOf(&dom) {
		if there := m.paths[*file]; there != "" {
			*file = there
		}
	}
	if dom.Devices != nil {
		for i := range dom.Devices.Disks {
			d := &dom.Devices.Disks[i]
			if d.BackingStore = nil; d.Source != nil { // what there is on the other host, libvirt finds
				d.Source.Index = 0
			}
		}
	}
	return dom.Marshal()
}

// perform has libvirt move the guest. When ctx ends it is stopped, and waited for: it may be
// through.
func (m *migration) perform(ctx context.Context, live, lasting string) error {
	there := m.to.host.endpoint.peerURI()
	flags := libvirt.MigrateLive | libvirt.MigratePeer2peer | libvirt.MigratePersistDest | libvirt.MigrateUndefineSource | libvirt.MigrateAbortOnError
	if m.disks {
		flags |= libvirt.MigrateNonSharedDisk
	}
	text := func(name, value string) libvirt.TypedParam { // names: libvirt API reference, VIR_MIGRATE_PARAM_*
		return libvirt.TypedParam{Field: name, Value: *libvirt.NewTypedParamValueString(value)}
	}
	params := []libvirt.TypedParam{text("destination_xml", live), text("persistent_xml", lasting)}
	dom := m.g.domain()
	done := make(chan error, 1)
	if !m.g.b.host.spawn(func() {
		done <- m.g.b.host.longCall(context.WithoutCancel(ctx), "migrate VM", m.g.name, func(l *libvirt.Libvirt) error {
			_, err := l.DomainMigratePerform3Params(dom, libvirt.OptString{there}, params, nil, flags)
			return err
		})
	}) {
		return errClosed
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	abort, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTime)
	defer cancel()
	abortErr := m.g.b.host.call(abort, "stop migration", m.g.name, func(l *libvirt.Libvirt) error { return l.DomainAbortJob(dom) })
	select {
	case err := <-done:
		if err != nil {
			return errors.Join(context.Cause(ctx), err)
		}
		return nil
	case <-abort.Done():
		return errors.Join(context.Cause(ctx), abortErr, abort.Err())
	}
}

// peerURI is the address of a host for another one: the files that parameters name are this
// process's.
func (e *endpoint) peerURI() string {
	u := url.URL{Scheme: e.driver + "+" + string(e.transport), Host: e.address(), Path: e.path}
	if e.user != "" {
		u.User = url.User(e.user)
	}
	return u.String()
}

// runtime is what is to be recorded of the guest on the other host.
func (m *migration) runtime() vm.Runtime {
	rt := m.g.Runtime()
	rt.Backend = m.to.opts.Name
	if there := m.paths[rt.Seed]; there != "" {
		rt.Seed = there
	}
	for i := range rt.Disks {
		if there := m.paths[rt.Disks[i].Path]; there != "" {
			rt.Disks[i].Path = there
		}
	}
	if rt.Console != "" {
		rt.Console = strings.Replace(rt.Console, m.g.b.opts.LogDir, m.to.opts.LogDir, 1)
	}
	return rt
}
