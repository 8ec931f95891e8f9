package process

import (
	"cmp"
	"context"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/vm"
)

// Names of a guest's RAM, by which saved states know it: QEMU's own name for that of the
// machine is what makes a state fit guests that have their RAM laid out differently.
const (
	sharedRAM  = "mem" // that which virtiofsd shares: such a guest can't be saved anyway
	unknownRAM = "mem" // where the machine's own name is not known
)

// Where a process finds its own descriptors (proc(5)).
const ownFD = "/proc/self/fd/"

// ram lays the guest's RAM out, and returns the machine's properties for it. Where nobody
// else looks at it, it is QEMU's own affair. Nowhere is it allocated in advance: a fork is to
// have of its own what it writes, and no more.
func (b *builder) ram(size vm.Size) []string {
	id := ""
	switch {
	case b.spec.Config.Template || b.spec.Incoming != nil && b.spec.Incoming.Memory != nil:
		id = cmp.Or(b.host.ram, unknownRAM)
		fd := b.inherit(inherited{open: func(context.Context) (*os.File, error) { return b.openRAM(size) }})
		// A private mapping is copied where it is written to (QEMU manual,
		// -object memory-backend-file, share).
		b.json("object", id, "memory", props{"qom-type": ramFromFile, "id": id, "size": int64(size),
			"mem-path": ownFD + fd, "share": b.spec.Config.Template})
	case b.needsSharedMemory():
		id = sharedRAM
		b.json("object", id, "memory", props{"qom-type": "memory-backend-memfd", "id": id, "size": int64(size), "share": true})
	default:
		return nil
	}
	return []string{"memory-backend", id}
}

// ramFromFile is the kind of object that maps a file as RAM.
const ramFromFile = "memory-backend-file"

// openRAM returns the file that the RAM is in: that of the saved state, or a new one in
// memory, which has a page only where somebody has written.
func (b *builder) openRAM(size vm.Size) (*os.File, error) {
	if in := b.spec.Incoming; in != nil && in.Memory != nil {
		return duplicateRAM(in.Memory, size)
	}
	fd, err := unix.MemfdCreate("maqet-ram", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	f := os.NewFile(uintptr(fd), "guest RAM")
	if err := f.Truncate(int64(size)); err != nil {
		return nil, errors.Join(fmt.Errorf("make the guest's RAM: %w", err), f.Close())
	}
	return f, nil
}

// duplicateRAM returns another descriptor of a file of RAM. QEMU would make one that is too
// short longer, and use a part of one that is too long.
func duplicateRAM(ram *os.File, size vm.Size) (*os.File, error) {
	info, err := ram.Stat()
	if err != nil {
		return nil, err
	}
	if info.Size() != int64(size) {
		return nil, &errors.Error{Kind: errors.ErrTemplateMismatch, Op: "open the template's memory",
			Msg:  fmt.Sprintf("it has %d bytes, and the guest is to have %d", info.Size(), int64(size)),
			Hint: "capture the template again"}
	}
	conn, err := ram.SyscallConn() // the descriptor must not be closed meanwhile
	if err != nil {
		return nil, err
	}
	var fd int
	var failed error
	err = conn.Control(func(old uintptr) { fd, failed = unix.FcntlInt(old, unix.F_DUPFD_CLOEXEC, 0) })
	if err := errors.Join(err, os.NewSyscallError("fcntl", failed)); err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), ram.Name()), nil
}
