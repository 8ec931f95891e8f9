package vm

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"github.com/maqet/maqet/errors"
)

// stateKeeper keeps what VMs remember besides their disks: the variables of a UEFI, and what
// helper programs keep, such as a TPM's secrets. It is in a folder named by the VM's ID,
// which is made when there is something to keep. What belongs to an ephemeral VM goes when
// its guest stops, the rest with the VM.
type stateKeeper struct{ dir string }

func (k *stateKeeper) path(id string) string { return filepath.Join(k.dir, id) }

// copies is where snapshots keep copies of it.
func (k *stateKeeper) copies(id string) string { return k.path(id) + ".snapshots" }

// StateDirs returns the folder with what the reserved VM remembers besides its disks, such as
// UEFI variables and a TPM's secrets, and the folder for copies of it, which goes with the VM.
// Neither has to be there.
func (r *Reservation) StateDirs() (state, copies string) {
	id := r.Instance().ID
	return r.m.state.path(id), r.m.state.copies(id)
}

// prepare makes the VM's own copy of the variables of its UEFI, unless it has one that is
// kept, and returns its path; empty: the firmware has none. They are those of source, if that
// is not empty, else the firmware's. undo deletes what this call and the guest's helpers made.
func (k *stateKeeper) prepare(ctx context.Context, inst Instance, uefi *UEFI, source string) (nvram string, undo func(context.Context) error, err error) {
	dir := k.path(inst.ID)
	if inst.Config.lifetime() == Ephemeral { // what a crash left
		if err := k.erase(inst); err != nil {
			return "", nil, err
		}
	}
	_, err = os.Lstat(dir)
	isNew := errors.Is(err, fs.ErrNotExist)
	made := ""
	undo = func(context.Context) error {
		if isNew {
			return k.erase(inst)
		}
		if made != "" {
			return os.Remove(made)
		}
		return nil
	}
	if uefi == nil || uefi.NVRAM == "" {
		return "", undo, nil
	}
	nvram = filepath.Join(dir, nvramName(uefi.NVRAM))
	if made, err = keepCopy(ctx, nvram, cmp.Or(source, uefi.NVRAM), uefi.NVRAMFormat); err != nil {
		err = errors.Wrap(errors.ErrStorage, "copy UEFI variables", inst.Name, err)
		return "", nil, errors.Join(err, undo(ctx))
	}
	return nvram, undo, nil
}

// nvramName is the name of the copy of a template. Each template has a copy of its own: the
// variables of a firmware without secure boot would switch it off in one that has it.
func nvramName(template string) string {
	sum := sha256.Sum256([]byte(template))
	return "nvram-" + hex.EncodeToString(sum[:4]) + ".fd"
}

// keepCopy makes a copy of the template at path, and returns path, or leaves the one that is
// there, and returns nothing.
func keepCopy(ctx context.Context, path, source, format string) (made string, err error) {
	template, err := os.Open(source)
	if err != nil {
		return "", err
	}
	defer func() { _ = template.Close() }() // it was only read
	want, err := template.Stat()
	if err != nil {
		return "", err
	}
	have, err := os.Lstat(path)
	switch {
	case err == nil && format == FormatRaw && have.Size() != want.Size():
		return "", &errors.Error{Op: "use " + path, Msg: "it has " + strconv.FormatInt(have.Size(), 10) + " bytes, the firmware's variables have " +
			strconv.FormatInt(want.Size(), 10), Hint: "the firmware was exchanged for another one: remove the file to start with new variables"}
	case err == nil:
		return "", nil
	case !errors.Is(err, fs.ErrNotExist):
		return "", err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return "", err
	}
	// Whole or not at all: a process that dies here must not leave half of it.
	tmp, err := os.CreateTemp(filepath.Dir(path), "nvram-*.tmp") // with mode 0600
	if err != nil {
		return "", err
	}
	_, err = io.Copy(tmp, template)
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err = errors.Join(err, tmp.Close()); err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		return "", errors.Join(err, os.Remove(tmp.Name()))
	}
	return path, nil
}

// release deletes what a guest that is gone need not remember.
func (k *stateKeeper) release(inst Instance) error {
	if inst.Config.lifetime() != Ephemeral {
		return nil
	}
	return k.erase(inst)
}

// erase deletes everything that the VM remembers.
func (k *stateKeeper) erase(inst Instance) error {
	if inst.ID == "" { // or it would be everybody's
		return nil
	}
	return os.RemoveAll(k.path(inst.ID))
}

// remove is erase for a VM that goes, with the copies of its snapshots.
func (k *stateKeeper) remove(inst Instance) error {
	if inst.ID == "" {
		return nil
	}
	return errors.Join(k.erase(inst), os.RemoveAll(k.copies(inst.ID)))
}
