package snapshot

import (
	"cmp"
	"context"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/internal/flock"
	"github.com/maqet/maqet/qmp/qapi"
	"github.com/maqet/maqet/vm"
)

// Capture makes a template of a live VM, from which forks continue. The guest ends with that,
// and the VM is Stopped (vm.ReasonCaptured): a guest that went on would change what its forks
// stand on. What it wrote to disks that vanish with it is the template's now; other disks get a
// new layer, so that the VM can be started again, and the image below it is the template's base
// and must not be written any more.
//
// A VM with Config.Template is captured without copying its memory, and its forks share it:
// the guest stands still for some milliseconds. Of others the memory is written to a file, which
// each fork loads.
//
// errors.ErrTemplateExists when the name is taken; errors.ErrSnapshotBlocked with what can't be
// captured, such as shared folders, a TPM or encrypted disks; what vm.Manager says of ref. When
// Capture fails, or ctx ends, before the guest was ended, it goes on as before, and nothing of
// the template is left.
func (c *Coordinator) Capture(ctx context.Context, ref, template string, opts ...CaptureOption) (Template, error) {
	what := "capture template " + template
	if c.templates == nil {
		return Template{}, noTemplates(what)
	}
	if err := checkTemplateName(template); err != nil {
		return Template{}, err
	}
	var o captureOptions
	for _, opt := range opts {
		opt(&o)
	}
	ctx, op, err := c.begin(ctx, onCapture, what, ref, nil)
	if err != nil {
		return Template{}, err
	}
	return work(ctx, op, func(ctx context.Context) (Template, error) {
		t, err := op.capture(ctx, template, o)
		return t, errors.Wrap(errors.ErrSnapshot, what, op.inst.Name, err)
	})
}

func noTemplates(what string) error {
	return &errors.Error{Kind: errors.ErrInvalidConfiguration, Op: what, Msg: "this coordinator has no templates", Hint: "give snapshot.Options.Templates"}
}

// capturing is one capture.
type capturing struct {
	*operation
	t      *Templates
	rec    *templateRecord
	dir    string // where the template is made
	maker  *flock.Lock
	memory *os.File // of the guest, if it is in a file
	halted bool     // the guest was stopped for the capture
}

func (op *operation) capture(ctx context.Context, name string, o captureOptions) (_ Template, err error) {
	if !op.live() {
		return Template{}, &errors.Error{Kind: errors.ErrVMNotRunning, VM: op.inst.Name, Msg: "it is " + string(op.inst.State), Hint: "start it first"}
	}
	lock, err := op.templates.lock(ctx, name)
	if err != nil {
		return Template{}, err
	}
	defer func() { err = errors.Join(err, lock.Unlock()) }()
	if rec, err := op.templates.read(name); err == nil {
		return Template{}, &errors.Error{Kind: errors.ErrTemplateExists, Msg: "one of that name was made of VM " + rec.VM, Hint: "delete it first, or choose another name"}
	} else if !errors.Is(err, errors.ErrTemplateNotFound) {
		return Template{}, err
	}
	if _, err := op.templates.bury(ctx, name); later(err) != nil { // an ephemeral one whose process is gone
		return Template{}, err
	}
	c := &capturing{operation: op, t: op.templates}
	if err := c.plan(ctx, name, o); err != nil {
		return Template{}, err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	if err := c.save(ctx); err != nil {
		return Template{}, errors.Join(err, c.abandon(ctx))
	}
	// The guest has ended: from here on everything is brought to its end.
	ctx, cancel := op.keeper.outlive(ctx)
	defer cancel()
	if err := c.settle(ctx); err != nil {
		return Template{}, errors.Join(err, later(c.t.erase(ctx, c.rec.ID, c.dir)))
	}
	return c.rec.Template, nil
}

// plan looks whether the guest can be captured, and makes the template's folder.
func (c *capturing) plan(ctx context.Context, name string, o captureOptions) error {
	guest, err := c.vms.Live(ctx, c.inst.ID)
	if err != nil {
		return err
	}
	capturer, ok := guest.(vm.Capturer)
	if !ok {
		return &errors.Error{Kind: errors.ErrSnapshotBlocked, Msg: "the backend " + c.inst.Runtime.Backend + " has no templates"}
	}
	s := &search{Coordinator: c.Coordinator, inst: c.inst}
	if err := s.template(ctx); err != nil || len(s.found) > 0 {
		return c.refuse(s.found, err)
	}
	print, err := capturer.Fingerprint(ctx, c.inst)
	if err != nil {
		return err
	}
	if c.memory, err = capturer.Memory(); err != nil {
		return err
	}
	c.rec = c.describe(name, o)
	c.rec.Fingerprint, c.rec.Shared = print, c.memory != nil
	c.dir = filepath.Join(c.t.dir, newPrefix+c.rec.ID)
	if err := os.MkdirAll(c.dir, 0o700); err != nil {
		return errors.Join(err, c.close())
	}
	c.maker, err = flock.Try(filepath.Join(c.dir, makerLock))
	if err != nil {
		err = errors.Join(err, c.close())
	}
	return err
}

// describe says what the template is, but for what is only known when it is saved.
func (c *capturing) describe(name string, o captureOptions) *templateRecord {
	inst := c.inst
	rec := &templateRecord{Version: templateVersion, Boot: inst.Runtime.Boot, Cards: inst.Runtime.Cards, Plugged: inst.Plugged, Unplugged: inst.Unplugged}
	rec.Template = Template{Name: name, ID: uuid.NewString(), Created: time.Now().UTC(), VM: inst.Name, Lifetime: o.lifetime, Owner: c.t.self,
		Config: inst.Config.Clone(), Memory: inst.Config.Memory}
	if rec.Memory == 0 {
		rec.Memory = vm.DefaultMemory
	}
	if rec.Lifetime == "" {
		rec.Lifetime = inst.Config.Lifetime
	}
	if rec.Lifetime == "" {
		rec.Lifetime = vm.Ephemeral
	}
	if inst.Fork != nil {
		rec.Parent, rec.ParentID = inst.Fork.Template, inst.Fork.ID
	}
	rec.Config.Machine, rec.Config.Accel = inst.Runtime.Machine, inst.Runtime.Accel
	if boot := &rec.Config.Boot; inst.Config.DefaultInitrd() { // by default not for disks with a base, such as a fork's
		boot.Kernel, boot.Initrd = cmp.Or(boot.Kernel, "auto"), "auto"
	}
	return rec
}

// template says what keeps a live VM from being captured.
func (s *search) template(ctx context.Context) error {
	s.encrypted("is encrypted, and its forks would not be")
	if err := s.snapshotsBelow(ctx); err != nil {
		return err
	}
	for _, d := range s.inst.Plugged {
		if d.Disk != nil && !d.Disk.ReadOnly {
			s.add(d.ID, "was plugged while the VM ran, and is written in place", "remove it, or have it in the configuration")
		}
	}
	if s.inst.Config.TPM != nil {
		s.add("tpm", "keeps secrets that its forks would share", "leave it out")
	}
	s.shares(ctx)
	guest, err := s.vms.Live(ctx, s.inst.ID)
	if err != nil {
		return err
	}
	if err := s.strangers(ctx, guest.QMP(), s.written()); err != nil {
		return err
	}
	info, err := qapi.QueryMigrate(ctx, guest.QMP())
	if err == nil && len(info.BlockedReasons) > 0 {
		s.unsaved(ctx, info.BlockedReasons)
	}
	s.found = slices.CompactFunc(s.found, func(a, b Blocker) bool { return a == b })
	return err
}

// snapshotsBelow finds external snapshots, which have images of which the template would need some.
func (s *search) snapshotsBelow(ctx context.Context) error {
	records, err := s.keeper.records.Snapshots(ctx, s.inst.ID)
	for _, rec := range records {
		for _, d := range rec.Disks {
			if rec.Kind == External {
				s.add(d.Name, "has external snapshots", "commit, stream or drop them first")
			}
		}
	}
	return err
}

// save has QEMU write the machine's state, and ends it.
func (c *capturing) save(ctx context.Context) (err error) {
	guest, err := c.vms.Live(ctx, c.inst.ID)
	if err != nil {
		return err
	}
	conn := guest.QMP()
	file, err := os.OpenFile(filepath.Join(c.dir, stateFile), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	s, closeStream, err := openStream(ctx, conn, c.rec.Shared)
	if err != nil {
		return err
	}
	defer closeStream()
	c.keeper.step(ctx, "capture: halt")
	begun := time.Now()
	if c.inst.State == vm.Running {
		c.halted = true // also if ctx ends before QEMU has said so
		if err := qapi.Stop(ctx, conn); err != nil {
			return err
		}
	}
	c.keeper.step(ctx, "capture: save")
	if err := s.save(ctx, file); err != nil {
		if ctx.Err() != nil { // it still goes on
			longer, cancel := c.keeper.outlive(ctx)
			defer cancel()
			err = errors.Join(err, s.cancel(longer))
		}
		return err
	}
	c.rec.Pause = time.Since(begun)
	if c.rec.State, err = identify(file); err != nil {
		return err
	}
	if _, err = file.Seek(0, 0); err != nil {
		return err
	}
	c.rec.StateSum, err = sumOf(file)
	if err != nil {
		return err
	}
	if err := c.extras(); err != nil { // which go with the guest
		return err
	}
	c.keeper.step(ctx, "capture: end the guest")
	// By force: QEMU has flushed and closed its images, for another one to take over.
	_, err = c.vms.Stop(context.WithoutCancel(ctx), c.inst.ID, vm.Force(), vm.KeepImages(), vm.Because(vm.ReasonCaptured))
	return err
}

// abandon lets the guest go on, and removes what was made of the template.
func (c *capturing) abandon(ctx context.Context) error {
	ctx, cancel := c.keeper.outlive(ctx)
	defer cancel()
	err := c.t.erase(ctx, c.rec.ID, c.dir)
	guest, liveErr := c.vms.Live(ctx, c.inst.ID)
	if liveErr != nil {
		return err // it has ended: what was said before tells
	}
	if c.rec.Shared {
		s := stream{conn: guest.QMP()}
		err = errors.Join(err, s.ignoreShared(ctx, false))
	}
	if c.halted {
		err = errors.Join(err, qapi.Cont(ctx, guest.QMP()))
	}
	return err
}

func (c *capturing) close() error {
	var errs []error
	if c.memory != nil {
		errs = append(errs, c.memory.Close())
		c.memory = nil
	}
	if c.maker != nil {
		errs = append(errs, c.maker.Unlock())
	}
	return errors.Join(errs...)
}
