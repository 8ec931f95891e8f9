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

// Clean implements vm.Backend.
func (b *Backend) Clean(_ context.Context, inst vm.Instance) error {
	return b.removeSockets(b.vmDir(inst.ID))
}

// removeSockets removes what this package made in a VM's runtime folder, and the
// folder if nothing else is in it.
func (b *Backend) removeSockets(dir string) error {
	var names []string
	for _, ch := range allChannels {
		socket := filepath.Base(socketPath(dir, ch))
		names = append(names, socket, filepath.Base(lockPath(socket)))
	}
	return removeFrom(dir, names)
}

// Erase implements vm.Backend.
func (b *Backend) Erase(ctx context.Context, inst vm.Instance) error {
	return errors.Join(b.Clean(ctx, inst), removeFrom(b.files(inst.ID).logDir, []string{consoleLog, stderrLog}))
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
