package libvirt

import (
	"context"
	"path"
	"sync/atomic"

	"github.com/digitalocean/go-libvirt"
	"libvirt.org/go/libvirtxml"

	"github.com/maqet/maqet/errors"
)

const (
	// DefaultPool is the storage pool in which volumes are made by default.
	DefaultPool = "maqet"
	// systemPool is the folder of DefaultPool, beside those of libvirt's own.
	systemPool = "/var/lib/libvirt/maqet"
)

// pool is the storage pool that volumes are made in: a folder of the host. It is found, and made,
// when it is needed first.
type pool struct {
	host *host
	name string

	turn  chan struct{} // holds a value while somebody asks libvirt, or uses what follows
	dom   libvirt.StoragePool
	path  string      // empty: not found yet
	ready atomic.Bool // it was running when it was looked at
}

func newPool(h *host, name string) *pool {
	return &pool{host: h, name: name, turn: make(chan struct{}, 1)}
}

// enter waits for the caller's turn, which leave ends.
func (p *pool) enter(ctx context.Context) error {
	select {
	case p.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return errors.Wrap(errors.ErrStorage, "find storage pool "+p.name, "", context.Cause(ctx))
	}
}

func (p *pool) leave() { <-p.turn }

// folder returns the pool's folder, be it there or not.
func (p *pool) folder(ctx context.Context) (string, error) {
	if err := p.enter(ctx); err != nil {
		return "", err
	}
	defer p.leave()
	if p.path != "" {
		return p.path, nil
	}
	found, err := p.find(ctx)
	if err == nil && !found {
		return p.place()
	}
	return p.path, err
}

// place is where the pool is to be made. Only the pool that nobody else has named is.
func (p *pool) place() (string, error) {
	if p.name == DefaultPool && p.host.endpoint.path == "/system" {
		return systemPool, nil
	}
	return "", &errors.Error{Kind: errors.ErrStorage, Op: "find storage pool " + p.name,
		Msg:  p.host.endpoint.String() + " has no such pool",
		Hint: "make it there: virsh pool-define-as " + p.name + " dir --target FOLDER, then virsh pool-start --build " + p.name}
}

// use returns the pool, running. It is made if it is missing.
func (p *pool) use(ctx context.Context) (libvirt.StoragePool, error) {
	if err := p.enter(ctx); err != nil {
		return libvirt.StoragePool{}, err
	}
	defer p.leave()
	if p.ready.Load() {
		return p.dom, nil
	}
	found, err := p.find(ctx)
	if err == nil && !found {
		err = p.define(ctx)
	}
	if err == nil {
		err = p.start(ctx)
	}
	p.ready.Store(err == nil)
	return p.dom, err
}

// stale has the pool looked at again: libvirtd was restarted, or somebody has stopped it.
func (p *pool) stale() { p.ready.Store(false) }

func (p *pool) find(ctx context.Context) (found bool, err error) {
	xml, err := ask(ctx, p.host.call, "find storage pool "+p.name, "", func(l *libvirt.Libvirt) (string, error) {
		dom, err := l.StoragePoolLookupByName(p.name)
		if err != nil {
			return "", err
		}
		return l.StoragePoolGetXMLDesc(dom, 0)
	})
	if hasCode(err, libvirt.ErrNoStoragePool) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, p.learn(xml)
}

func (p *pool) learn(xml string) error {
	var desc libvirtxml.StoragePool
	op := "find storage pool " + p.name
	if err := desc.Unmarshal(xml); err != nil {
		return errors.Wrap(errors.ErrStorage, op, "", err)
	}
	if desc.Target == nil || !path.IsAbs(desc.Target.Path) || desc.Type != "dir" && desc.Type != "fs" && desc.Type != "netfs" {
		return &errors.Error{Kind: errors.ErrInvalidConfiguration, Op: op, Msg: "it is of type " + desc.Type + ", and images need files",
			Hint: "name a pool of type dir"}
	}
	id, err := domainUUID(desc.UUID, "")
	p.dom, p.path = libvirt.StoragePool{Name: desc.Name, UUID: id}, path.Clean(desc.Target.Path)
	return err
}

// define makes the pool known to libvirt, and has it started with libvirtd. Only root, and QEMU,
// which libvirt gives the files it needs, get into its folder.
func (p *pool) define(ctx context.Context) error {
	folder, err := p.place()
	if err != nil {
		return err
	}
	desc := libvirtxml.StoragePool{Type: "dir", Name: p.name, Target: &libvirtxml.StoragePoolTarget{Path: folder,
		Permissions: &libvirtxml.StoragePoolTargetPermissions{Mode: "0711"}}}
	text, err := desc.Marshal()
	if err != nil {
		return errors.Wrap(errors.ErrStorage, "describe storage pool "+p.name, "", err)
	}
	err = p.host.call(ctx, "define storage pool "+p.name, "", func(l *libvirt.Libvirt) error {
		dom, err := l.StoragePoolDefineXML(text, 0)
		if err != nil {
			return err
		}
		return l.StoragePoolSetAutostart(dom, 1)
	})
	if found, again := p.find(ctx); found { // perhaps somebody else was quicker
		return again
	}
	return err
}

// start starts the pool unless it runs. Its folder is made if it is missing.
func (p *pool) start(ctx context.Context) error {
	dom := p.dom
	return p.host.call(ctx, "start storage pool "+p.name, "", func(l *libvirt.Libvirt) error {
		active, err := l.StoragePoolIsActive(dom)
		if err != nil || active != 0 {
			return err
		}
		err = l.StoragePoolCreate(dom, libvirt.StoragePoolCreateWithBuild)
		if active, activeErr := l.StoragePoolIsActive(dom); activeErr == nil && active != 0 {
			return nil // somebody else was quicker
		}
		return err
	})
}
