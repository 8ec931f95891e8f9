package process

import (
	"context"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/internal/guestview"
	"github.com/maqet/maqet/internal/proc"
	"github.com/maqet/maqet/vm"
)

// files returns the paths of a VM's files.
func (b *Backend) files(id string) files {
	logs := filepath.Join(b.opts.LogDir, id)
	return files{dir: b.vmDir(id), logDir: logs,
		console: filepath.Join(logs, consoleLog), stderr: filepath.Join(logs, stderrLog)}
}

const (
	consoleLog = "console.log"
	stderrLog  = "qemu.log"
)

// Launch implements vm.Backend. It returns as soon as QEMU is executed; its sockets
// listen already. A QEMU that ends at once shows in the guest's Done and in the error of
// its Connect.
func (b *Backend) Launch(ctx context.Context, spec vm.LaunchSpec) (vm.Guest, error) {
	host, err := b.resolve(ctx, spec.Config)
	if err != nil {
		return nil, err
	}
	f := b.files(spec.ID)
	plan, err := build(spec, host, f)
	if err != nil {
		return nil, err
	}
	if err := plan.fitsIncoming(); err != nil {
		return nil, err
	}
	g, err := b.launch(ctx, plan)
	if err != nil {
		return nil, err
	}
	return g, nil
}

// launch starts what build planned.
func (b *Backend) launch(ctx context.Context, plan *builder) (*guest, error) {
	spec, host, f := plan.spec, plan.host, plan.files
	ports := portsOf(plan.commandLine())
	err := guestview.CheckForwards(ctx, plan.cards())
	if err == nil {
		err = b.segments.join(ports)
	}
	if err != nil {
		return nil, errors.Wrap(errors.ErrVMStart, "set up the network", spec.Config.Name, err)
	}
	p, err := b.spawn(ctx, plan, f)
	if err != nil {
		err = errors.Join(err, plan.removeCaptures(), b.segments.leave(ports))
		return nil, errors.Wrap(errors.ErrVMStart, "launch "+host.binary, spec.Config.Name, err)
	}
	rt := vm.Runtime{
		Process: p.identity(), Backend: Name, Accel: host.accel, Machine: host.machine,
		Args: plan.commandLine(), Dir: f.dir, Stderr: f.stderr, Sockets: map[string]string{}, Disks: spec.Images,
		Captures: plan.captures, Boot: spec.Boot, Cards: guestview.CardRecords(spec.Config, spec.Unplugged, spec.ID),
	}
	for _, ch := range plan.channels() {
		rt.Sockets[ch] = socketPath(f.dir, ch)
	}
	for _, h := range p.helpers {
		rt.Helpers = append(rt.Helpers, h.record())
	}
	nameSockets(rt.Sockets, spec.Config, f.dir)
	if !spec.Config.Console.Disabled {
		rt.Console = f.console
	}
	b.log.DebugContext(ctx, "QEMU launched", "vm", spec.Config.Name, "pid", rt.Process.PID, "args", rt.Args)
	g := newGuest(b, spec.Config.Name, rt, p)
	g.display, g.ports, g.cards = plan.served, ports, plan.cards()
	g.sockets = userSockets(spec.Config, spec.Unplugged)
	return g, nil
}

// spawn makes the folders, the logs and the sockets, and executes the helpers and QEMU.
// When it fails nothing that it made is left.
func (b *Backend) spawn(ctx context.Context, plan *builder, f files) (p *process, err error) {
	done, err := b.launching()
	if err != nil {
		return nil, err
	}
	defer done()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if err := ownDir(f.dir); err != nil {
		return nil, err
	}
	sockets, err := listen(f.dir, plan.channels())
	if err != nil { // perhaps the sockets of a guest that lives are in the way
		return nil, errors.Join(err, removeFrom(f.dir, nil))
	}
	c := crew{b: b, vm: plan.spec.ID, ephemeral: plan.ephemeral()}
	logs, err := openLogs(f)
	var made []string
	if err == nil {
		made, err = makeOutputs(plan.outputs)
	}
	if err == nil {
		err = writeBlobs(plan.blobTexts)
	}
	if err == nil {
		var fds []uintptr
		if fds, err = c.equip(ctx, plan.inherited, sockets, f); err == nil {
			p, err = b.fork(plan, append(logs.stdio(), fds...), c.helpers)
		}
	}
	err = errors.Join(err, closeListeners(sockets), c.close(), logs.close())
	if err == nil {
		return p, nil
	}
	if p != nil { // nobody would get to know of it
		_ = p.signal(unix.SIGKILL) // an error means that it is gone
		<-p.done()
		err = errors.Join(err, b.letGo(p))
	} else {
		err = errors.Join(c.lastWords(err), dismiss(c.helpers))
	}
	return nil, errors.Join(err, b.removeSockets(f.dir), removeLogs(f.logDir), removeOutputs(made))
}

// fork executes QEMU and watches it together with its helpers.
func (b *Backend) fork(plan *builder, fds []uintptr, helpers []*helper) (*process, error) {
	handle, err := b.execute(plan.commandLine(), fds, plan.ephemeral())
	if err != nil {
		return nil, err
	}
	p := watch(handle, helpers...)
	b.keep(p, child{ephemeral: plan.ephemeral(), dir: plan.files.dir})
	return p, nil
}

// execute starts a program in a session of its own, so that Ctrl-C at the terminal reaches
// the owner only, which decides what becomes of its guests. What is ephemeral ends with
// this process.
func (b *Backend) execute(args []string, fds []uintptr, ephemeral bool, env ...string) (*proc.Handle, error) {
	attr := &syscall.ProcAttr{Env: append(os.Environ(), env...), Files: fds, Sys: &syscall.SysProcAttr{Setsid: true}}
	var pid int
	exec := func() (err error) { pid, err = syscall.ForkExec(args[0], args, attr); return err }
	var err error
	if ephemeral {
		attr.Sys.Pdeathsig = syscall.SIGKILL
		err = b.forks.run(exec)
	} else {
		err = exec()
	}
	if err != nil {
		return nil, &os.PathError{Op: "execute", Path: args[0], Err: err}
	}
	handle, err := proc.OpenChild(pid)
	if err != nil { // no descriptor is left, for example: without one it can't be watched
		_ = unix.Kill(pid, unix.SIGKILL) // not waited for yet, so the PID is its own
		_, waitErr := unix.Wait4(pid, nil, 0, nil)
		return nil, errors.Join(err, os.NewSyscallError("wait4", waitErr))
	}
	return handle, nil
}

// logs are the files that QEMU writes to, and what it reads as its stdin.
type logs struct{ null, stderr *os.File }

func openLogs(f files) (logs, error) {
	var l logs
	err := ownDir(f.logDir)
	if err == nil {
		l.stderr, err = createLog(f.stderr)
	}
	if err == nil {
		// QEMU appends to the console's log, which it would make readable for others.
		var console *os.File
		if console, err = createLog(f.console); err == nil {
			err = console.Close()
		}
	}
	if err == nil {
		l.null, err = os.Open(os.DevNull)
	}
	return l, err
}

// stdio returns the descriptors 0, 1 and 2 of QEMU.
func (l logs) stdio() []uintptr { return []uintptr{l.null.Fd(), l.stderr.Fd(), l.stderr.Fd()} }

func (l logs) close() error {
	var errs []error
	for _, f := range []*os.File{l.null, l.stderr} {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	return errors.Join(errs...)
}

// createLog makes a log file anew. Each start has its own: what an earlier one printed
// would be taken for this one's.
func createLog(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|unix.O_NOFOLLOW, 0o600)
}
