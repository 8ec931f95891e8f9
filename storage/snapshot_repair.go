package storage

import (
	"context"
	"os"
	"os/exec"

	"github.com/maqet/maqet/errors"
)

// Exit codes of "qemu-img check" (qemu-img(1)).
const (
	checkCorrupt = 2
	checkLeaks   = 3
)

// Repair frees what an interrupted operation leaked in a qcow2 image that nobody uses, and is
// nothing but a look at one that is well: "qemu-img check", and "-r leaks" if need be.
//
// Where a snapshot is made or loaded, QEMU writes reference counts first and then the flags
// that depend on them, which a check calls corrupt in between. "-r leaks" puts these flags
// right as well, if and only if everything else is (check_oflag_copied in
// block/qcow2-refcount.c). One that is marked as dirty gets its reference counts anew, as by QEMU
// when it opens it (qcow2_do_open in block/qcow2.c). An image that is corrupt beyond that is not touched, and is an
// [*ImageError] that says so; so is one that is in use, errors.ErrImageInUse.
func (m *Manager) Repair(ctx context.Context, path string, keys ...Secret) error {
	op := "repair image " + quote(path)
	h, err := m.hold(ctx, path, keys)
	if err != nil {
		return failed(op, err)
	}
	defer h.release()
	return failed(op, h.repair(ctx))
}

func (h *heldImage) repair(ctx context.Context) error {
	err := h.run(ctx, []string{"check", "-q"})
	switch exitCode(err) {
	case checkCorrupt:
		if h.layers[0].head.dirty { // with lazy refcounts, if its user was killed: QEMU itself does this then
			return h.run(ctx, []string{"check", "-q", "-r", "all"})
		}
		if err = h.rehearse(ctx); err != nil {
			return err
		}
	case checkLeaks:
	default:
		return err
	}
	err = h.run(ctx, []string{"check", "-q", "-r", "leaks"})
	if err == nil {
		h.m.log.InfoContext(ctx, "image repaired after an interrupted operation", "path", h.path())
	}
	return err
}

// rehearse fails unless "check -r leaks" makes everything right. It has it work on a layer
// over the file that is thrown away.
func (h *heldImage) rehearse(ctx context.Context) (err error) {
	layer, err := os.CreateTemp("", "maqet-repair-*.qcow2")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, layer.Close(), os.Remove(layer.Name())) }()
	if err := h.m.img(ctx, "create", "-q", "-f", FormatQcow2, "-F", FormatRaw, "-b", h.path(), "--", layer.Name()); err != nil {
		return err
	}
	copied := chainOptions(h.layers, "file.driver=qcow2,file.file.driver=file,file.file.filename="+optionValue(layer.Name()))
	err = h.runOn(ctx, copied, []string{"check", "-q", "-r", "leaks"})
	if exitCode(err) == checkCorrupt {
		return (&ImageError{Kind: errors.ErrStorage, Msg: "is corrupt", Err: err,
			Fix: `make a copy of it, then try "qemu-img check -r all"`}).at([]string{h.path()})
	}
	return err
}

// exitCode is the exit code of a qemu-img that ended by itself, -1 for anything else.
func exitCode(err error) int {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode()
	}
	return -1
}

// failed says what failed. The kind is that of what is wrong, errors.ErrStorage if that has none.
func failed(op string, err error) error {
	if err == nil {
		return nil
	}
	kind := errors.KindOf(err)
	if kind == nil {
		kind = errors.ErrStorage
	}
	return &errors.Error{Kind: kind, Op: op, Err: err}
}
