package snapshot

import (
	"context"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/qmp"
	"github.com/maqet/maqet/qmp/qapi"
	"github.com/maqet/maqet/vm"
)

// backupSource is a QEMU that has a VM's writable disks open: the VM's own, or a storage
// daemon.
type backupSource struct {
	conn  qmp.Conn
	disks []sourceDisk
	live  bool
	close func() error
}

// sourceDisk is a disk, and the node of its format that its guest writes to.
type sourceDisk struct {
	vm.Image
	node qapi.BlockDeviceInfo
}

// source finds, or starts, the QEMU to back up from.
func (op *operation) source(ctx context.Context) (*backupSource, error) {
	disks := op.sourceDisks()
	if len(disks) == 0 {
		return nil, &BlockedError{Op: op.what, VM: op.inst.Name, Blockers: []Blocker{{
			Reason: "the VM has no writable disk", Fix: "there is nothing to back up"}}}
	}
	if !op.live() {
		return op.daemon(ctx, disks)
	}
	guest, err := op.vms.Live(ctx, op.inst.ID)
	if err != nil {
		return nil, err
	}
	s := &backupSource{conn: guest.QMP(), disks: disks, live: true, close: func() error { return nil }}
	return s, nil
}

// sourceDisks are the VM's writable disks.
func (op *operation) sourceDisks() (disks []sourceDisk) {
	for _, img := range op.r.Images() {
		if img.Path != "" && !img.ReadOnly {
			disks = append(disks, sourceDisk{Image: img})
		}
	}
	return disks
}

// refuseEncrypted refuses to copy what is encrypted into files that are not, unless it was
// asked for.
func (op *operation) refuseEncrypted() error {
	blocked := &BlockedError{Op: op.what, VM: op.inst.Name}
	for _, d := range op.sourceDisks() {
		if d.Encrypted && !op.plain {
			blocked.Blockers = append(blocked.Blockers, Blocker{Device: d.Name, Reason: "is encrypted, and the files of a backup are not",
				Fix: "if the folder is safe, ask for it with PlainText; else copy the image of the stopped VM, which stays encrypted (storage.Manager.Clone)"})
		}
	}
	if len(blocked.Blockers) == 0 {
		return nil
	}
	return blocked
}

// look asks which nodes the disks are on now, with their bitmaps.
func (s *backupSource) look(ctx context.Context) error {
	g, err := graphOf(ctx, s.conn)
	if err != nil {
		return err
	}
	for i := range s.disks {
		d, node := &s.disks[i], s.disks[i].Name
		if s.live {
			chain := g.chain(d.Name)
			if len(chain) == 0 {
				return &errors.Error{Kind: errors.ErrQMP, Op: "find disk " + d.Name + " in QEMU", Msg: "no image belongs to it",
					Hint: "it may have been taken out by QMP"}
			}
			node = chain[0].node
		}
		d.node = g.info[node]
	}
	return nil
}

// keepsBitmaps reports whether bitmaps can be stored in the image, so that they outlive QEMU:
// in qcow2 from version 3 on, which is called 1.1 (QEMU, docs/interop/qcow2.txt, "Bitmaps
// extension").
func (d *sourceDisk) keepsBitmaps() bool {
	if d.node.Drv != vm.FormatQcow2 || d.node.Image.FormatSpecific == nil {
		return false
	}
	spec, ok := d.node.Image.FormatSpecific.Data.(qapi.ImageInfoSpecificQCow2)
	return ok && spec.Compat != "0.10"
}

// bitmap returns a bitmap of the disk's.
func (d *sourceDisk) bitmap(name string) (qapi.BlockDirtyInfo, bool) {
	for _, b := range d.node.DirtyBitmaps {
		if b.Name == name {
			return b, true
		}
	}
	return qapi.BlockDirtyInfo{}, false
}
