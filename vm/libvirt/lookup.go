package libvirt

import (
	"context"

	"github.com/digitalocean/go-libvirt"
	"github.com/google/uuid"

	"github.com/maqet/maqet/errors"
)

// caller makes calls to libvirt on one of a host's connections; see host.call.
type caller func(ctx context.Context, op, vm string, fn func(l *libvirt.Libvirt) error) error

// ask is a call with an answer. One that comes when nobody awaits it any more is dropped.
func ask[T any](ctx context.Context, call caller, op, vm string, fn func(l *libvirt.Libvirt) (T, error)) (T, error) {
	var answer T
	err := call(ctx, op, vm, func(l *libvirt.Libvirt) (err error) {
		answer, err = fn(l)
		return err
	})
	if err != nil {
		var none T
		return none, err
	}
	return answer, nil
}

// notActive is the ID of domains that do not run.
const notActive = -1

// found is what the host has of a VM.
type found struct {
	dom  libvirt.Domain
	ours bool // maqet made it for this VM
}

// active reports whether the domain runs, be it paused.
func (f *found) active() bool { return f != nil && f.dom.ID != notActive }

// domainUUID is the UUID of the domain of a VM.
func domainUUID(id, name string) (libvirt.UUID, error) {
	u, err := uuid.Parse(id)
	if err != nil {
		return libvirt.UUID{}, &errors.Error{Kind: errors.ErrInvalidConfiguration, Op: "find VM", VM: name, Msg: "its ID " + id + " is no UUID", Err: err}
	}
	return libvirt.UUID(u), nil
}

// find returns the domain with the ID of a VM, by whatever name it goes now; nil when there is
// none.
func (b *Backend) find(ctx context.Context, id, name string) (*found, error) {
	u, err := domainUUID(id, name)
	if err != nil {
		return nil, err
	}
	return ask(ctx, b.host.call, "find VM", name, func(l *libvirt.Libvirt) (*found, error) {
		dom, err := l.DomainLookupByUUID(u)
		if hasCode(err, libvirt.ErrNoDomain) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		f := &found{dom: dom}
		text, err := l.DomainGetMetadata(dom, int32(libvirt.DomainMetadataElement), libvirt.OptString{metadataURI}, libvirt.DomainAffectCurrent)
		switch {
		case hasCode(err, libvirt.ErrNoDomain): // gone between the two
			return nil, nil
		case hasCode(err, libvirt.ErrNoDomainMetadata):
			return f, nil
		case err != nil:
			return nil, err
		}
		var m struct { // a mark, of which libvirt leaves away the namespace
			ID string `xml:"id,attr"`
		}
		// A copy that somebody has made of a domain has the mark, too.
		f.ours = unmarshal(text, &m) == nil && m.ID == id
		return f, nil
	})
}

// taken returns an error when a domain that is not this VM's has its name.
func (b *Backend) taken(ctx context.Context, id, name string) error {
	dom, err := ask(ctx, b.host.call, "find VM", name, func(l *libvirt.Libvirt) (libvirt.Domain, error) {
		return l.DomainLookupByName(name)
	})
	switch {
	case hasCode(err, libvirt.ErrNoDomain):
		return nil
	case err != nil:
		return err
	case uuid.UUID(dom.UUID).String() == id:
		return nil
	}
	return b.foreign(name, "a domain of this name has the UUID "+uuid.UUID(dom.UUID).String())
}

// foreign is the error for a domain that is in the way and is not ours.
func (b *Backend) foreign(name, what string) error {
	return &errors.Error{Kind: errors.ErrVMAlreadyExists, Op: "launch VM", VM: name,
		Msg:  what + " on " + b.opts.URI + ", and was not made for this VM",
		Hint: "choose another name, or look at it with virsh -c '" + b.opts.URI + "' dumpxml " + name}
}
