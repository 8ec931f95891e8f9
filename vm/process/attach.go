package process

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/internal/guestview"
	"github.com/maqet/maqet/internal/proc"
	"github.com/maqet/maqet/vm"
)

// Attach implements vm.Backend. A process is the guest's when its PID, start time and
// boot are the recorded ones and its command line has the VM's UUID; all is checked
// while a pidfd holds it, so that it can't be swapped for another.
func (b *Backend) Attach(ctx context.Context, inst vm.Instance) (vm.Guest, error) {
	rt, err := inst.Runtime, error(nil)
	if rt.Process.PID == 0 {
		rt, err = b.search(inst)
	}
	var p *process
	if err == nil {
		p, err = hold(rt, inst.ID)
	}
	if err != nil {
		kind := errors.ErrBackend // not known to be gone
		if errors.Is(err, proc.ErrGone) {
			kind = errors.ErrVMNotRunning
		}
		return nil, errors.Wrap(kind, "attach to VM", inst.Name, err)
	}
	g := newGuest(b, inst.Name, rt, p)
	if inst.State == vm.Starting || inst.Runtime.Process.PID == 0 {
		b.finishStart(g, inst)
	}
	ports := portsOf(rt.Args)
	if err := b.segments.join(ports); err != nil {
		return nil, errors.Join(errors.Wrap(errors.ErrBackend, "join the segments of VM", inst.Name, err), g.Release())
	}
	g.ports = ports
	if err := g.Connect(ctx); err != nil {
		gone := g.proc.gone()
		err = errors.Join(err, g.Release())
		if gone {
			err = errors.Wrap(errors.ErrVMNotRunning, "attach to VM", inst.Name, err)
		}
		return nil, err
	}
	return g, nil
}

// finishStart has Connect do what the owner, who died before, may not have done.
func (b *Backend) finishStart(g *guest, inst vm.Instance) {
	g.cards, g.sockets = guestview.Cards(inst.Config, inst.Unplugged), userSockets(inst.Config, inst.Unplugged)
	var bad *errors.Problem
	if g.display, bad = servedOf(inst.Config.Display, g.runtime.Dir); bad != nil {
		b.log.Warn("the display has no password, and lets in nobody", "vm", inst.Name, "file", bad.Value, "problem", bad.Message)
	}
}

// hold opens a process and makes sure that it is the QEMU of this VM. The error wraps
// proc.ErrGone when there is no such process.
func hold(rt vm.Runtime, uuid string) (*process, error) {
	id := rt.Process
	if id.PID == 0 {
		return nil, fmt.Errorf("no process of it is known: %w", proc.ErrGone)
	}
	handle, err := proc.Open(proc.ID(id))
	if err != nil {
		return nil, err
	}
	args, err := handle.Args()
	if err == nil && !hasUUID(args, uuid) {
		err = fmt.Errorf("process %d is not its QEMU: %w", id.PID, proc.ErrGone)
	}
	var helpers []*helper
	if err == nil {
		helpers, err = holdHelpers(rt.Helpers)
	}
	if err != nil {
		return nil, errors.Join(err, handle.Close())
	}
	return watch(handle, helpers...), nil
}

func hasUUID(args []string, uuid string) bool {
	return uuid != "" && valueOf(args, "-uuid") == uuid
}

// valueOf returns what follows the first argument that is option.
func valueOf(args []string, option string) string {
	if i := slices.Index(args, option); i >= 0 && i+1 < len(args) {
		return args[i+1]
	}
	return ""
}

// search finds a guest whose owner died between executing QEMU and recording it: by
// the UUID in the command line of a process of this user. Where its things are follows
// from the VM's ID.
func (b *Backend) search(inst vm.Instance) (vm.Runtime, error) {
	const root = "/proc"
	entries, err := os.ReadDir(root)
	if err != nil {
		return vm.Runtime{}, err
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		args, err := proc.Args(pid)
		if err == nil && launchedFor(args, inst.ID) && mine(filepath.Join(root, e.Name())) {
			var id proc.ID
			if id, err = proc.Of(pid); err == nil {
				return b.reconstruct(inst, vm.Process(id), args), nil
			}
		}
		if err != nil && !errors.Is(err, proc.ErrGone) && !errors.Is(err, fs.ErrPermission) {
			return vm.Runtime{}, err
		}
	}
	return vm.Runtime{}, nil
}

// launchedFor reports whether args begin as those of the VM's QEMU do. A debugger or a
// shell that runs one has its arguments, too, but not in this place.
func launchedFor(args []string, uuid string) bool {
	return slices.Index(args, "-name") == 1 && slices.Index(args, "-uuid") == 3 && hasUUID(args, uuid)
}

func mine(path string) bool {
	info, err := os.Stat(path)
	return err == nil && ownedBy(info) == os.Getuid()
}

// reconstruct makes the record that the owner did not live to make.
func (b *Backend) reconstruct(inst vm.Instance, id vm.Process, args []string) vm.Runtime {
	f := b.files(inst.ID)
	rt := vm.Runtime{Process: id, Backend: Name, Args: args, Dir: f.dir, Stderr: f.stderr, Sockets: map[string]string{}}
	for _, ch := range allChannels {
		if path := socketPath(f.dir, ch); exists(path) {
			rt.Sockets[ch] = path
		}
	}
	for name, path := range ownSockets(inst.Config, f.dir) {
		if exists(path) {
			rt.Sockets[name] = path
		}
	}
	if !inst.Config.Console.Disabled {
		rt.Console = f.console
	}
	rt.Cards, rt.Boot = guestview.CardRecords(inst.Config, inst.Unplugged, inst.ID), bootOf(args, inst.Name)
	rt.NVRAM, rt.Seed = nodeFile(args, nodeNVRAM), nodeFile(args, seedID+"-file")
	rt.Accel = valueOf(args, "-accel")
	rt.Machine, _, _ = strings.Cut(valueOf(args, "-machine"), ",")
	return rt
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// runState is QEMU's answer to query-status.
type runState struct {
	Status  string `json:"status"`
	Running bool   `json:"running"`
}

func decodeStatus(raw json.RawMessage) (s runState, err error) { return s, json.Unmarshal(raw, &s) }
