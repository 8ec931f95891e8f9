package snapshot

import (
	"context"
	"path/filepath"
	"strings"

	"github.com/maqet/maqet/qmp"
	"github.com/maqet/maqet/qmp/qapi"
	"github.com/maqet/maqet/vm"
)

// node is a block node with a format: what a device of the guest works on, or would if it
// were plugged.
type node struct {
	disk      string // the device's, by its id; else its QOM path
	name      string // the node's
	format    string // vm.FormatQcow2, ...
	path      string // the image
	filename  string // what QEMU calls the node's image: the path, or JSON where that does not say all
	readOnly  bool
	snapshots []qapi.SnapshotInfo
	bitmaps   []qapi.BlockDirtyInfo
}

// snapshot returns the internal snapshot with a name, nil if the image has none.
func (n node) snapshot(name string) *qapi.SnapshotInfo {
	for i := range n.snapshots {
		if n.snapshots[i].Name == name {
			return &n.snapshots[i]
		}
	}
	return nil
}

// nodes are the block nodes of a live guest.
type nodes struct {
	active []node // on which its devices work now, in QEMU's order
	all    []node
}

// nodesOf asks QEMU which nodes there are. What a disk is called says nothing: since an
// external snapshot was made its device is on another node than at the start.
func nodesOf(ctx context.Context, e qmp.Executor) (nodes, error) {
	list, err := qapi.QueryNamedBlockNodes(ctx, e, true)
	if err != nil {
		return nodes{}, err
	}
	devices, err := qapi.QueryBlock(ctx, e)
	if err != nil {
		return nodes{}, err
	}
	var out nodes
	var graph *blockGraph
	for _, info := range list {
		n := node{name: info.NodeName, format: info.Drv, path: info.File, filename: info.File, readOnly: info.RO,
			snapshots: info.Image.Snapshots, bitmaps: info.DirtyBitmaps}
		if isFormat(n.format) && !filepath.IsAbs(n.path) { // of an encrypted one, JSON with its key's name
			if graph == nil {
				if graph, err = graphOf(ctx, e); err != nil {
					return nodes{}, err
				}
			}
			n.path = graph.file(n.name)
		}
		out.all = append(out.all, n)
	}
	for _, device := range devices {
		if device.Inserted == nil { // an empty tray
			continue
		}
		n := out.below(device.Inserted)
		n.disk = diskOf(device.Qdev)
		out.active = append(out.active, n)
	}
	return out, nil
}

// below returns the topmost node that has a format: above it there can be filters, such as
// the one that throttles, which QEMU shows with what they filter as their backing image.
func (l nodes) below(top *qapi.BlockDeviceInfo) node {
	image := &top.Image
	for !isFormat(image.Format) && image.BackingImage != nil {
		image = image.BackingImage
	}
	for _, n := range l.all {
		if n.name == top.NodeName && n.format == image.Format || image != &top.Image && n.filename == image.Filename && n.format == image.Format {
			return n
		}
	}
	return node{name: top.NodeName, format: top.Drv, path: top.File, filename: top.File, readOnly: top.RO}
}

func isFormat(driver string) bool { return driver == vm.FormatQcow2 || driver == vm.FormatRaw }

// diskOf returns the id of a device by what query-block says of it: the id, or, where the
// drive is on a part of the device, the QOM path of that part.
func diskOf(qdev string) string {
	rest, ok := strings.CutPrefix(qdev, "/machine/peripheral/")
	if !ok {
		return qdev
	}
	id, _, _ := strings.Cut(rest, "/")
	return id
}

// holding returns the qcow2 node of an image.
func (l nodes) holding(path string) (node, bool) {
	for _, n := range l.all {
		if n.path == path && n.format == vm.FormatQcow2 {
			return n, true
		}
	}
	return node{}, false
}
