package process

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/vm"
)

// Clean implements vm.Backend. The record's folder counts besides the one that this
// backend would use now: they differ when the runtime folder was changed.
func (b *Backend) Clean(_ context.Context, inst vm.Instance) error {
	helpers, err := holdHelpers(inst.Runtime.Helpers)
	lost, lostErr := strays(inst)
	err = errors.Join(err, lostErr, dismiss(append(helpers, lost...)), b.removeSockets(b.vmDir(inst.ID)))
	if recorded := inst.Runtime.Dir; recorded != "" && recorded != b.vmDir(inst.ID) {
		err = errors.Join(err, b.removeSockets(recorded))
	}
	return err
}

// removeSockets removes what this package made in a VM's runtime folder, and the
// folder if nothing else is in it.
func (b *Backend) removeSockets(dir string) error {
	names := []string{linkSocket}
	for _, ch := range socketNames() {
		socket := filepath.Base(socketPath(dir, ch))
		names = append(names, socket, filepath.Base(lockPath(socket)))
	}
	return errors.Join(removePorts(dir), removeFrom(dir, append(names, blobNames(dir)...)))
}

// Erase implements vm.Backend.
func (b *Backend) Erase(ctx context.Context, inst vm.Instance) error {
	dir := b.files(inst.ID).logDir
	err := errors.Join(b.Clean(ctx, inst), removeLogs(dir))
	if inst.Runtime.Stderr == "" {
		return err
	}
	if recorded := filepath.Dir(inst.Runtime.Stderr); recorded != dir {
		err = errors.Join(err, removeLogs(recorded))
	}
	return err
}

func removeLogs(dir string) error {
	names := []string{consoleLog, stderrLog}
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		if isHelperLog(e.Name()) {
			names = append(names, e.Name())
		}
	}
	return errors.Join(ignore(err, fs.ErrNotExist), removeFrom(dir, names))
}

// removeFrom removes these files of a folder, then the folder. A file of somebody else
// in it stays, and so does the folder then.
func removeFrom(dir string, names []string) error {
	var errs []error
	for _, name := range names {
		errs = append(errs, ignore(os.Remove(filepath.Join(dir, name)), fs.ErrNotExist))
	}
	errs = append(errs, ignore(ignore(os.Remove(dir), fs.ErrNotExist), syscall.ENOTEMPTY))
	return errors.Join(errs...)
}

func ignore(err, harmless error) error {
	if errors.Is(err, harmless) {
		return nil
	}
	return err
}

func ownedBy(info os.FileInfo) int {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return int(st.Uid)
	}
	return -1
}
