package process

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/maqet/maqet/errors"
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
// listen already.
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
	p, err := b.spawn(ctx, plan, f)
	if err != nil {
		return nil, errors.Join(
			errors.Wrap(errors.ErrVMStart, "launch "+host.binary, spec.Config.Name, err), b.removeSockets(f.dir))
	}
	rt := vm.Runtime{
		Process: p.identity(), Backend: Name, Accel: host.accel, Machine: host.machine,
		Args: plan.commandLine(), Dir: f.dir, Stderr: f.stderr, Sockets: map[string]string{}, Disks: spec.Images,
	}
	for _, ch := range plan.channels {
		rt.Sockets[ch] = socketPath(f.dir, ch)
	}
	if !spec.Config.Console.Disabled {
		rt.Console = f.console
	}
	b.log.DebugContext(ctx, "QEMU launched", "vm", spec.Config.Name, "pid", rt.Process.PID, "args", rt.Args)
	return newGuest(b, spec.ID, spec.Config, rt, p), nil
}

// spawn makes the folders, the logs and the sockets, and executes QEMU.
func (b *Backend) spawn(ctx context.Context, plan *builder, f files) (*process, error) {
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	if err := errors.Join(mkdir(f.dir), mkdir(f.logDir)); err != nil {
		return nil, err
	}
	stderr, err := createLog(f.stderr)
	if err != nil {
		return nil, err
	}
	defer stderr.Close()
	// QEMU appends to the console's log, which it would make readable for others.
	console, err := createLog(f.console)
	if err != nil {
		return nil, err
	}
	if err := console.Close(); err != nil {
		return nil, err
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	sockets, err := listen(f.dir, plan.channels)
	if err != nil {
		return nil, err
	}
	fds := []uintptr{null.Fd(), stderr.Fd(), stderr.Fd()}
	for _, s := range sockets {
		fds = append(fds, s.file.Fd())
	}
	p, err := b.fork(plan, fds)
	return p, errors.Join(err, closeListeners(sockets))
}

// fork executes QEMU in a session of its own, so that Ctrl-C at the terminal reaches
// the owner only, which decides what becomes of its guests.
func (b *Backend) fork(plan *builder, fds []uintptr) (*process, error) {
	args := plan.commandLine()
	attr := &syscall.ProcAttr{Env: os.Environ(), Files: fds, Sys: &syscall.SysProcAttr{Setsid: true}}
	if plan.spec.Config.Lifetime == vm.Persistent {
		return forkExec(args, attr)
	}
	attr.Sys.Pdeathsig = syscall.SIGKILL
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return nil, errors.New("the backend is closed")
	}
	var p *process
	var err error
	b.forks.run(func() { p, err = forkExec(args, attr) })
	if err == nil {
		b.ephemeral[p] = struct{}{}
	}
	return p, err
}

func forkExec(args []string, attr *syscall.ProcAttr) (*process, error) {
	pid, err := syscall.ForkExec(args[0], args, attr)
	if err != nil {
		return nil, &os.PathError{Op: "execute", Path: args[0], Err: err}
	}
	// Until it is waited for, the PID can't mean another process.
	id, err := proc.Of(pid)
	var handle *proc.Handle
	if err == nil {
		handle, err = proc.Open(id)
	}
	if err != nil { // it ended at once
		var ws unix.WaitStatus
		_ = unix.Kill(pid, unix.SIGKILL)
		_, waitErr := unix.Wait4(pid, &ws, 0, nil)
		return nil, errors.Join(fmt.Errorf("QEMU ended at once with %v", exitStatus(ws, waitErr == nil)), err)
	}
	return watch(handle), nil
}

func mkdir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return ownDir(dir)
}

// createLog makes a log file anew. Each start has its own: what an earlier one printed
// would be taken for this one's.
func createLog(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|unix.O_NOFOLLOW, 0o600)
}
