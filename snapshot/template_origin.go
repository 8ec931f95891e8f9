package snapshot

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/vm"
)

// origin is what one start of a fork begins with. It implements vm.Origin.
type origin struct {
	t      *Templates
	rec    *templateRecord
	state  *os.File
	memory *os.File // nil: it is in the state
	own    bool     // memory is a copy, which the guest's QEMU shares: see stream.ignoreShared
}

// Open implements vm.Templates.
func (t *Templates) Open(ctx context.Context, inst vm.Instance) (vm.Origin, error) {
	rec, err := t.read(inst.Fork.Template)
	if err == nil && rec.ID != inst.Fork.ID {
		err = &errors.Error{Kind: errors.ErrTemplateNotFound, Op: "find template " + rec.Name,
			Msg: "the one that the VM is a copy of is gone, and another one has its name", Hint: "fork that one"}
	}
	if err != nil {
		return nil, err
	}
	if err := rec.unchanged(); err != nil {
		return nil, err
	}
	o := &origin{t: t, rec: rec, own: rec.Shared && inst.Config.Template}
	if o.state, err = rec.checked(t.folder(rec.Name)); err == nil && rec.Shared {
		o.memory, err = t.openMemory(ctx, rec, inst.Config.Template)
	}
	if err != nil {
		return nil, errors.Join(err, o.Close())
	}
	return o, nil
}

// openMemory opens a template's memory, or a copy of it for a fork that is to be captured.
func (t *Templates) openMemory(ctx context.Context, rec *templateRecord, toCapture bool) (*os.File, error) {
	f, err := t.findMemory(rec)
	if err != nil {
		return nil, rec.spoilt(err)
	}
	id, err := identify(f)
	switch {
	case err != nil:
		return nil, errors.Join(err, f.Close())
	case id != rec.RAM:
		return nil, errors.Join(rec.spoilt(errors.New("its memory was changed")), f.Close())
	case !toCapture:
		return f, nil
	}
	own, err := newMemory("maqet-ram", id.Size)
	if err == nil {
		err = copySparse(ctx, own, f, id.Size)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		if own != nil {
			err = errors.Join(err, own.Close())
		}
		return nil, err
	}
	return own, nil
}

// findMemory opens the file: of an ephemeral template through the process that has it.
func (t *Templates) findMemory(rec *templateRecord) (*os.File, error) {
	if rec.Lifetime == vm.Persistent {
		// For writing, too: QEMU before 8.2 opens it so, and maps it privately.
		return os.OpenFile(filepath.Join(t.folder(rec.Name), ramFile), os.O_RDWR|unix.O_NOFOLLOW, 0)
	}
	// It can be something else by now, which must not be waited for; the caller looks.
	return os.OpenFile(fmt.Sprintf("/proc/%d/fd/%d", rec.Owner.PID, rec.RAMFD), os.O_RDWR|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
}

// Parts implements vm.Origin.
func (o *origin) Parts() vm.OriginParts {
	dir := o.t.folder(o.rec.Name)
	parts := vm.OriginParts{Boot: o.rec.Boot, Incoming: vm.Incoming{Memory: o.memory, Fingerprint: o.rec.Fingerprint}}
	if o.rec.NVRAM {
		parts.NVRAM = filepath.Join(dir, nvramFile)
	}
	if o.rec.Seed {
		parts.Seed = filepath.Join(dir, seedFile)
	}
	return parts
}

// Resume implements vm.Origin.
func (o *origin) Resume(ctx context.Context, guest vm.Guest) error {
	op := "continue from template " + o.rec.Name
	s, closeStream, err := openStream(ctx, guest.QMP(), o.rec.Shared)
	if err != nil {
		return errors.Wrap(errors.ErrSnapshot, op, "", err)
	}
	defer closeStream()
	err = s.load(ctx, o.state)
	if err == nil && o.own {
		err = s.ignoreShared(ctx, false)
	}
	return errors.Wrap(errors.ErrSnapshot, op, "", err)
}

// Settle implements vm.Origin.
func (o *origin) Settle(ctx context.Context, inst vm.Instance) error {
	who := o.t.identities()
	if who == nil {
		return &errors.Error{Kind: errors.ErrSnapshot, Op: "settle fork", VM: inst.Name,
			Msg: "nobody can give its guest an identity of its own", Hint: "fork it with snapshot.Alike"}
	}
	id := vm.Identity{Hostname: vm.HostName(inst.Name), MachineID: strings.ReplaceAll(inst.ID, "-", "")}
	for _, was := range o.rec.Cards {
		for _, now := range inst.Runtime.Cards {
			if was.Name == now.Name && (was.MAC != now.MAC || was.Address != now.Address) {
				change := vm.CardChange{From: was.MAC, MAC: now.MAC, Renew: leases(inst.Config, now.Name)}
				if was.Address != now.Address {
					change.Address = now.Address
				}
				id.Cards = append(id.Cards, change)
			}
		}
	}
	return errors.Wrap(errors.ErrGuest, "give fork an identity", inst.Name, who.Individualize(ctx, inst.ID, id))
}

// leases reports whether a card has its address from a DHCP server of the host's network, as far
// as maqet can know.
func leases(cfg vm.Config, card string) bool {
	for i, n := range cfg.Networks {
		if n.NameAt(i) == card {
			return (n.TypeOf() == vm.NetworkTap || n.TypeOf() == vm.NetworkBridge) && n.Address == ""
		}
	}
	return false
}

// Close implements vm.Origin.
func (o *origin) Close() error {
	var errs []error
	for _, f := range []*os.File{o.state, o.memory} {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	return errors.Join(errs...)
}
