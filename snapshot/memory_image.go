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
			name = vmstateNode
			if create {
				err = k.makeVmstate(ctx, rec.VM, d.Path)
			}
			if err == nil {
				err = k.openVmstate(ctx, conn, d.Path)
			}
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

// makeVmstate makes the image unless it is there.
func (k *Keeper) makeVmstate(ctx context.Context, owner, path string) error {
	there, err := k.keptVmstate(ctx, path)
	if err != nil || there {
		return err
	}
	k.step(ctx, "memory: create image")
	if err := k.images.Delete(ctx, path); err != nil { // one whose maker died before it was whole
		return err
	}
	_, err = k.images.Create(ctx, storage.CreateSpec{Path: path, Format: vm.FormatQcow2, Size: vmstateSize,
		For: storage.For{Owner: owner, Disk: vmstateNode, Kind: storage.KindMemory}})
	return err
}

func (k *Keeper) openVmstate(ctx context.Context, conn qmp.Conn, path string) error {
	k.step(ctx, "memory: open image")
	return qapi.BlockdevAdd(ctx, conn, qapi.BlockdevOptions{Driver: qapi.BlockdevDriverQcow2, NodeName: vmstateNode,
		Discard: qapi.BlockdevDiscardOptionsUnmap, // what a snapshot took goes back to the host with it
		File: &qapi.BlockdevRef{Options: &qapi.BlockdevOptions{Driver: qapi.BlockdevDriverFile, Filename: path,
			Discard: qapi.BlockdevDiscardOptionsUnmap}}})
}

// keptVmstate reports whether the image was made, whole, and is there.
func (k *Keeper) keptVmstate(ctx context.Context, path string) (bool, error) {
	files, err := k.images.Files(ctx, storage.FileFilter{Path: path})
	if err != nil || len(files) == 0 || files[0].Unfinished {
		return false, err
	}
	return isThere(path)
}
