package libvirt

import (
	"context"
	"os"
	"path/filepath"
	"slices"

	"github.com/digitalocean/go-libvirt"
	"golang.org/x/sys/unix"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/vm"
)

// Launch implements vm.Backend. The guest of an ephemeral VM is a transient domain that libvirtd
// ends with this Backend's connection; that of a persistent one is defined, and stays so.
//
// When ctx ends Launch returns at once. What it had begun is brought to an end and undone
// afterwards, which Close waits for: a call that libvirtd works on can't be recalled.
func (b *Backend) Launch(ctx context.Context, spec vm.LaunchSpec) (vm.Guest, error) {
	const op = "launch VM"
	working, wanted, done, err := b.begin(ctx, op, spec.Config.Name)
	if err != nil {
		return nil, err
	}
	type outcome struct {
		g   *guest
		err error
	}
	out := make(chan outcome) // without room: it is handed over, or undone
	go func() {
		defer done()
		l := launch{b: b, spec: spec, wanted: wanted}
		g, err := l.run(working)
		select {
		case out <- outcome{g, err}:
			return
		case <-ctx.Done():
		}
		if err == nil {
			l.undo(working)
		}
	}()
	select {
	case o := <-out:
		if o.err != nil {
			return nil, o.err
		}
		return o.g, nil
	case <-ctx.Done():
		return nil, errors.Wrap(errors.ErrVMStart, op, spec.Config.Name, context.Cause(ctx))
	}
}

// launch is one launch under way.
type launch struct {
	b      *Backend
	spec   vm.LaunchSpec
	wanted context.Context // ends when nobody awaits it any more
	undos  []func(context.Context) error

	found *found // what the host had of the VM before
	said  described
	sub   *subscription
	dom   libvirt.Domain
	no    bool // libvirt has refused to make it, or to start it
}

// run does everything, or leaves nothing.
func (l *launch) run(ctx context.Context) (*guest, error) {
	for _, step := range []func(context.Context) error{l.look, l.stage, l.follow, l.define, l.create} {
		err := errors.Wrap(errors.ErrVMStart, "launch VM", l.spec.Config.Name, context.Cause(l.wanted))
		if err == nil {
			err = step(ctx)
		}
		if err != nil {
			l.undo(ctx)
			return nil, err
		}
	}
	g := newGuest(l.b, l.spec.Config.Name, l.said.runtime, l.dom, l.sub)
	g.config, g.cards = l.spec.Config, l.said.cards
	if ephemeral(l.spec.Config) {
		l.b.keep(g)
	}
	l.undos = append(l.undos, func(context.Context) error {
		l.b.forget(g) // it is destroyed here, and its UUID may be another run's soon
		return g.Release()
	})
	return g, nil
}

// undo takes back what was done, the last first, also when ctx has ended.
func (l *launch) undo(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTime)
	defer cancel()
	for _, undo := range slices.Backward(l.undos) {
		if err := undo(ctx); err != nil {
			l.b.log.WarnContext(ctx, "failed launch not undone in full", "vm", l.spec.Config.Name, "error", err)
		}
	}
	l.undos = nil
}

func ephemeral(cfg vm.Config) bool { return cfg.Lifetime != vm.Persistent }

// look makes sure that nothing is in the way.
func (l *launch) look(ctx context.Context) error {
	name := l.spec.Config.Name
	found, err := l.b.find(ctx, l.spec.ID, name)
	if err != nil {
		return err
	}
	if found == nil {
		return l.b.taken(ctx, l.spec.ID, name)
	}
	if !found.ours {
		return l.b.foreign(name, "a domain has its UUID "+l.spec.ID)
	}
	if found.active() && l.b.idle(ctx, name, found.dom) != nil {
		return &errors.Error{Kind: errors.ErrVMAlreadyRunning, Op: "launch VM", VM: name,
			Msg: "its domain " + found.dom.Name + " runs already", Hint: "somebody has started it by other means: reconcile"}
	}
	l.found = found
	return l.b.saved(ctx, name, found.dom)
}

// saved refuses a domain whose memory libvirt has saved: it would be lost.
func (b *Backend) saved(ctx context.Context, name string, dom libvirt.Domain) error {
	has, err := ask(ctx, b.host.call, "launch VM", name, func(l *libvirt.Libvirt) (int32, error) {
		return l.DomainHasManagedSaveImage(dom, 0)
	})
	if err != nil || has == 0 {
		return err
	}
	return &errors.Error{Kind: errors.ErrVMStart, Op: "launch VM", VM: name, Msg: "libvirt has saved its memory",
		Hint: "continue it with virsh start " + dom.Name + ", or drop what was saved with virsh managedsave-remove " + dom.Name}
}

// stage brings files to where the host's QEMU finds them, and makes the domain's description.
func (l *launch) stage(ctx context.Context) error {
	// What takes as long as there is data ends when nobody awaits it any more.
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(l.wanted, func() { cancel(context.Cause(l.wanted)) })()
	spec, err := l.b.stage(ctx, l.spec)
	if err != nil {
		return err
	}
	if l.found != nil { // perhaps somebody has renamed it
		spec.Config.Name = l.found.dom.Name
	}
	said, undo, err := l.b.describe(ctx, spec)
	if err != nil {
		return err
	}
	l.said = said
	l.undos = append(l.undos, undo)
	rt := &l.said.runtime
	// What the Manager gave it, by the Manager's own names.
	rt.Boot, rt.NVRAM, rt.Seed = l.spec.Boot, l.spec.NVRAM, l.spec.Seed
	return nil
}

// complete adds what is reached through libvirt. Guests of the test driver have nothing of it.
func (b *Backend) complete(rt *vm.Runtime, spec vm.LaunchSpec) {
	if b.imitates() {
		return
	}
	rt.Sockets = channelPorts(spec)
	if !spec.Config.Console.Disabled {
		rt.Console = filepath.Join(b.logDir(spec.ID), consoleLog)
	}
}

// follow subscribes to the domain's events, so that none is missed.
func (l *launch) follow(ctx context.Context) (err error) {
	id, err := domainUUID(l.spec.ID, l.spec.Config.Name)
	if path := l.said.runtime.Console; err == nil && path != "" { // who watches the guest may look there at once
		err = makeLogFolder(path, l.spec.Config.Name)
		l.undos = append(l.undos, func(context.Context) error {
			_ = os.Remove(filepath.Dir(path)) // fails, as it shall, when something is in it
			return nil
		})
	}
	if err != nil {
		return err
	}
	if l.sub, err = l.b.events.subscribe(ctx, l.spec.Config.Name, id, eventQueue); err != nil {
		return err
	}
	l.undos = append(l.undos, func(context.Context) error { l.sub.close(); return nil })
	return nil
}

// define makes a persistent domain, or gives it another description.
func (l *launch) define(ctx context.Context) error {
	l.undos = append(l.undos, l.discard) // whether there is an answer or not
	if ephemeral(l.spec.Config) {
		return nil
	}
	dom, err := ask(ctx, l.b.host.call, "define VM", l.spec.Config.Name, func(c *libvirt.Libvirt) (libvirt.Domain, error) {
		return c.DomainDefineXMLFlags(l.said.xml, 0)
	})
	if err != nil {
		return l.refused(ctx, err)
	}
	l.dom = dom
	return nil
}

// discard takes back what was made of the domain. One that libvirt refused to make, or to start, is
// another launch's.
func (l *launch) discard(ctx context.Context) error {
	name := l.spec.Config.Name
	now, err := l.b.find(ctx, l.spec.ID, name)
	if err != nil || now == nil || !now.ours {
		return err
	}
	if now.active() {
		if l.no {
			return nil
		}
		if err := l.b.destroy(ctx, name, now.dom, 0); err != nil {
			return err
		}
	}
	if l.found != nil || ephemeral(l.spec.Config) {
		return nil
	}
	return l.b.undefine(ctx, name, now.dom)
}

// create starts the domain, with its CPUs halted.
func (l *launch) create(ctx context.Context) error {
	if l.spec.Restore != "" {
		return l.restore(ctx)
	}
	var call caller = l.b.host.call
	halted, bound := libvirt.DomainStartPaused, libvirt.DomainStartAutodestroy
	if l.b.imitates() {
		halted, bound = 0, 0
	}
	defined, xml := l.dom, l.said.xml
	start := func(c *libvirt.Libvirt) (libvirt.Domain, error) {
		return c.DomainCreateWithFlags(defined, uint32(halted))
	}
	if ephemeral(l.spec.Config) {
		call = l.b.host.lifeline
		start = func(c *libvirt.Libvirt) (libvirt.Domain, error) {
			return c.DomainCreateXML(xml, halted|bound|l.said.flags)
		}
	}
	dom, err := ask(ctx, call, "start VM", l.spec.Config.Name, start)
	if err != nil {
		return l.refused(ctx, err)
	}
	l.dom = dom
	if l.b.imitates() {
		err := l.b.host.call(ctx, "halt VM", l.spec.Config.Name, func(c *libvirt.Libvirt) error { return c.DomainSuspend(dom) })
		if err != nil {
			return err
		}
	}
	return l.log()
}

// imitates reports whether the driver is libvirt's test driver, whose guests execute nothing:
// it knows no flags for a start, and they can as well be halted after it.
func (b *Backend) imitates() bool { return b.host.endpoint.driver == driverTest }

// log makes the console's file anew, before anything is printed: what an earlier run printed
// would be taken for this one's.
func (l *launch) log() error {
	path := l.said.runtime.Console
	if path == "" {
		return nil
	}
	l.undos = append(l.undos, func(context.Context) error { return removeLogs(l.b.logDir(l.spec.ID)) })
	err := os.MkdirAll(filepath.Dir(path), 0o700)
	var file *os.File
	if err == nil {
		file, err = os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o600)
	}
	if err == nil {
		err = file.Close()
	}
	return errors.Wrap(errors.ErrVMStart, "make the console's file", l.spec.Config.Name, err)
}

// refused explains an error of libvirt's: perhaps somebody was quicker with a domain of the
// same name.
func (l *launch) refused(ctx context.Context, err error) error {
	var answer *errors.LibvirtError
	l.no = errors.As(err, &answer)
	if l.found == nil && hasCode(err, libvirt.ErrOperationFailed, libvirt.ErrDomExist) {
		if taken := l.b.taken(ctx, l.spec.ID, l.spec.Config.Name); errors.Is(taken, errors.ErrVMAlreadyExists) {
			return errors.Join(taken, err)
		}
	}
	return err
}
