package snapshot

import (
	"context"
	"path/filepath"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/qmp"
	"github.com/maqet/maqet/qmp/qapi"
	"github.com/maqet/maqet/storage"
	"github.com/maqet/maqet/vm"
)

// vmstateNode is the name, as a disk of a Record and as a block node, of the image that holds
// the memory of a VM that has no disk for it. No device of the guest is on it.
const vmstateNode = "maqet-vmstate"

// vmstateSize is how large that image is for a guest. Memory is kept beyond it.
const vmstateSize = 1 << 20

func vmstateDisk(r *vm.Reservation) RecordDisk {
	return RecordDisk{Name: vmstateNode, Path: filepath.Join(r.ImagesDir(), vmstateNode+".qcow2"), Format: vm.FormatQcow2}
}

// open returns the names of the nodes of a snapshot's disks, that of the memory first. An image
// that no device works on is opened, and made if create is true and it is not there.
func (k *Keeper) open(ctx context.Context, conn qmp.Conn, rec *Record, create bool) (names []string, err error) {
	list, err := nodesOf(ctx, conn)
	if err != nil {
		return nil, err
	}
	for _, d := range rec.Disks {
		n, ok := list.holding(d.Path)
		name := n.name
		if !ok && d.Name == vmstateNode {
			name, err = vmstateNode, k.openVmstate(ctx, conn, rec.VM, d.Path, create)
		} else if !ok {
			err = &errors.Error{Kind: errors.ErrSnapshotBlocked, Op: "find disk " + d.Name, Msg: "the guest does not use its image " + d.Path}
		}
		switch {
		case err != nil:
			return nil, err
		case d.Name == rec.Vmstate:
			names = append([]string{name}, names...)
		default:
			names = append(names, name)
		}
	}
	return names, nil
}

func (k *Keeper) openVmstate(ctx context.Context, conn qmp.Conn, owner, path string, create bool) error {
	files, err := k.images.Files(ctx, storage.FileFilter{Path: path})
	if err != nil {
		return err
	}
	if create && len(files) == 0 {
		k.step(ctx, "memory: create image")
		_, err := k.images.Create(ctx, storage.CreateSpec{Path: path, Format: vm.FormatQcow2, Size: vmstateSize,
			For: storage.For{Owner: owner, Disk: vmstateNode, Kind: storage.KindMemory}})
		if err != nil {
			return err
		}
	}
	k.step(ctx, "memory: open image")
	return qapi.BlockdevAdd(ctx, conn, qapi.BlockdevOptions{Driver: qapi.BlockdevDriverQcow2, NodeName: vmstateNode,
		Discard: qapi.BlockdevDiscardOptionsUnmap, // what a snapshot took goes back to the host with it
		File: &qapi.BlockdevRef{Options: &qapi.BlockdevOptions{Driver: qapi.BlockdevDriverFile, Filename: path,
			Discard: qapi.BlockdevDiscardOptionsUnmap}}})
}

// registered reports whether maqet has made an image.
func (k *Keeper) registered(ctx context.Context, path string) bool {
	files, err := k.images.Files(ctx, storage.FileFilter{Path: path})
	return err == nil && len(files) > 0
}
