package storage

import (
	"context"
	"os"
	"strconv"
	"syscall"
	"time"

	"github.com/maqet/maqet/errors"
)

// Snapshot is an internal snapshot of a qcow2 image.
type Snapshot struct {
	ID      string        `json:"id"`   // a number that QEMU gave it, unique in its image
	Name    string        `json:"name"` // QEMU's tag; QEMU allows two of the same name
	Created time.Time     `json:"created"`
	VMClock time.Duration `json:"vm_clock"` // for how long the guest had run
	// Memory is what the saved machine takes, in bytes; 0: it holds the disk only.
	Memory int64 `json:"memory"`
	// Size is the image's virtual size when it was made.
	Size int64 `json:"size"`
}

// Snapshots lists the internal snapshots of a qcow2 image, in the order in which they were
// made. It reads the image's own table (QEMU, docs/interop/qcow2.txt), which takes less than
// a millisecond and disturbs nobody, and names are what they are in there, also such as are
// no UTF-8.
//
// It may be called while a QEMU writes the image: QEMU writes a new table before it points
// the image's header to it, so what is read is the table as it was at one moment, which may
// be over. What a QEMU is still about to write is not seen.
//
// Errors are an [*ImageError], as for [Manager.Inspect].
func (m *Manager) Snapshots(ctx context.Context, path string) ([]Snapshot, error) {
	list, err := snapshots(ctx, path)
	kind := errors.ErrStorage
	if errors.Is(err, errors.ErrImageNotFound) {
		kind = errors.ErrImageNotFound
	}
	return list, errors.Wrap(kind, "list snapshots of image "+quote(path), "", err)
}

func snapshots(ctx context.Context, path string) ([]Snapshot, error) {
	path, err := absolute(path)
	if err != nil {
		return nil, &ImageError{Kind: errors.ErrStorage, Path: path, Msg: "can't be looked at: " + err.Error(), Err: err}
	}
	_, fault := examine(path, FormatQcow2)
	if fault != nil {
		return nil, fault.at([]string{path})
	}
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, unopened("read", err).at([]string{path})
	}
	defer f.Close()
	list, err := steadySnapshots(ctx, f)
	if err != nil && ctx.Err() == nil {
		err = (&ImageError{Kind: errors.ErrStorage, Msg: err.Error(), Fix: `see what "qemu-img check" makes of it`, Err: err}).at([]string{path})
	}
	return list, err
}

// tableTries is how often a table that changes while it is read is read again.
const tableTries = 20

// steadySnapshots reads the snapshots of an image that somebody else may write: the place of
// a table that has been replaced can hold anything by now.
func steadySnapshots(ctx context.Context, f *os.File) ([]Snapshot, error) {
	before, err := readSnapshotTable(f)
	for range tableTries {
		if err != nil {
			return nil, err
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		list, readErr := before.read(f)
		var after snapshotTable
		if after, err = readSnapshotTable(f); err == nil && after == before {
			return list, readErr
		}
		before = after
	}
	return nil, errors.New("changes its snapshots all the time: it did so " + strconv.Itoa(tableTries) + " times while they were read")
}
