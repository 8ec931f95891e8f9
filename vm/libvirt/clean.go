package libvirt

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/digitalocean/go-libvirt"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/vm"
)

// Files in a VM's folder below Options.LogDir: what its console printed, and who writes it.
const (
	consoleLog  = "console.log"
	consoleLock = "console.lock"
)

func (b *Backend) logDir(id string) string { return filepath.Join(b.opts.LogDir, id) }

// Clean implements vm.Backend. libvirtd itself clears away what belongs to a guest that is gone,
// but for the keys and texts that it was given.
func (b *Backend) Clean(ctx context.Context, inst vm.Instance) error {
	return errors.Join(b.takeSecrets(ctx, inst.ID, inst.Config), b.removeBlobs(ctx, inst.ID, inst.Config))
}

// Erase implements vm.Backend. The domain's snapshots, checkpoints, saved memory, UEFI variables
// and TPM go with it. A domain that runs, or is not maqet's, is left alone.
func (b *Backend) Erase(ctx context.Context, inst vm.Instance) error {
	if inst.State == vm.Created { // never started: the host need not be asked
		return nil
	}
	found, err := b.find(ctx, inst.ID, inst.Name)
	switch {
	case err != nil:
		return err
	case found != nil && found.ours && found.active():
		return &errors.TransitionError{VM: inst.Name, Op: "remove", State: string(vm.Running),
			Hint: "somebody has started its domain " + found.dom.Name + " by other means: stop it first"}
	case found != nil && found.ours:
		if err := b.undefine(ctx, inst.Name, found.dom); err != nil {
			return err
		}
	}
	return errors.Join(b.Clean(ctx, inst), removeLogs(b.logDir(inst.ID)))
}

// undefine flags: all that libvirt may keep of a domain. NVRAM, TPM and checkpoints are refused by
// drivers and versions (before 8.9) that know of no such thing (libvirt API reference,
// virDomainUndefineFlags).
const (
	undefineBasics = libvirt.DomainUndefineManagedSave | libvirt.DomainUndefineSnapshotsMetadata | libvirt.DomainUndefineCheckpointsMetadata
	undefineAll    = undefineBasics | libvirt.DomainUndefineNvram | libvirt.DomainUndefineTpm
)

// undefine removes a domain that does not run. One that is gone is no error.
func (b *Backend) undefine(ctx context.Context, name string, dom libvirt.Domain) error {
	return b.host.call(ctx, "undefine VM", name, func(l *libvirt.Libvirt) (err error) {
		for _, flags := range []libvirt.DomainUndefineFlagsValues{undefineAll, undefineBasics | libvirt.DomainUndefineNvram, undefineBasics, undefineBasics &^ libvirt.DomainUndefineCheckpointsMetadata} {
			if err = l.DomainUndefineFlags(dom, flags); !hasCode(err, libvirt.ErrInvalidArg) {
				break
			}
		}
		if hasCode(err, libvirt.ErrNoDomain) {
			return nil
		}
		return err
	})
}

// removeLogs removes what this package writes in a VM's folder, and the folder. A file of
// somebody else in it stays, and so does the folder then.
func removeLogs(dir string) error {
	var err error
	for _, name := range append(channelLocks(), consoleLog, consoleLock) {
		err = errors.Join(err, ignore(os.Remove(filepath.Join(dir, name)), fs.ErrNotExist))
	}
	return errors.Join(err, ignore(ignore(os.Remove(dir), fs.ErrNotExist), syscall.ENOTEMPTY))
}

func ignore(err, harmless error) error {
	if errors.Is(err, harmless) {
		return nil
	}
	return err
}
