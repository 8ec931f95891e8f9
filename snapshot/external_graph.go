package snapshot

import (
	"context"
	"strings"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/qmp"
	"github.com/maqet/maqet/qmp/qapi"
	"github.com/maqet/maqet/vm"
)

// blockGraph is QEMU's block nodes at one moment, and how they stand on each other.
type blockGraph struct {
	names    map[uint64]string
	below    map[uint64]map[string]uint64 // by what the edge is called
	backends map[uint64]bool
	info     map[string]qapi.BlockDeviceInfo // by the node's name
}

// openImage is an image that QEMU has open.
type openImage struct {
	node     string
	fileNode string
	path     string
	format   string
	readOnly bool
	cache    qapi.BlockdevCacheInfo
}

// graphOf asks QEMU for its nodes.
func graphOf(ctx context.Context, e qmp.Executor) (*blockGraph, error) {
	raw, err := qapi.XDebugQueryBlockGraph(ctx, e)
	if err != nil {
		return nil, err
	}
	list, err := qapi.QueryNamedBlockNodes(ctx, e, true)
	if err != nil {
		return nil, err
	}
	g := &blockGraph{names: map[uint64]string{}, below: map[uint64]map[string]uint64{}, backends: map[uint64]bool{},
		info: map[string]qapi.BlockDeviceInfo{}}
	for _, n := range raw.Nodes {
		g.names[n.ID] = n.Name
		g.backends[n.ID] = n.Type == qapi.XDbgBlockGraphNodeTypeBlockBackend
	}
	for _, e := range raw.Edges {
		if g.below[e.Parent] == nil {
			g.below[e.Parent] = map[string]uint64{}
		}
		g.below[e.Parent][e.Name] = e.Child
	}
	for _, n := range list {
		g.info[n.NodeName] = n
	}
	return g, nil
}

// root returns the topmost node of a disk: an image's, or that of a filter above it. A device
// that consists of several has its drive on one of them, of which the QOM path is told.
func (g *blockGraph) root(disk string) (id uint64, found bool) {
	for backend, is := range g.backends {
		name := g.names[backend]
		if is && (name == disk || strings.HasPrefix(name, "/machine/peripheral/"+disk+"/")) {
			id, found = g.below[backend]["root"]
			return id, found
		}
	}
	return 0, false
}

// chain returns the images of a disk, the one that the guest writes first. Filters between
// them are passed over.
func (g *blockGraph) chain(disk string) (images []openImage) {
	id, ok := g.root(disk)
	for ok {
		edges := g.below[id]
		file, hasFile := edges["file"]
		info := g.info[g.names[id]]
		if hasFile && (info.Drv == vm.FormatQcow2 || info.Drv == vm.FormatRaw) {
			images = append(images, openImage{node: g.names[id], fileNode: g.names[file], path: g.info[g.names[file]].File,
				format: info.Drv, readOnly: info.RO, cache: info.Cache})
			id, ok = edges["backing"]
			continue
		}
		if id, ok = edges["backing"]; !ok {
			id, ok = file, hasFile
		}
	}
	return images
}

// find returns the node of one of a disk's images.
func (g *blockGraph) find(disk, path string) (openImage, error) {
	for _, img := range g.chain(disk) {
		if sameFile(img.path, path) {
			return img, nil
		}
	}
	return openImage{}, &errors.Error{Kind: errors.ErrSnapshot, Msg: "disk " + disk + " of the running guest does not stand on " + path}
}

// named returns the path of the image that a node has open.
func (g *blockGraph) named(node string) (path string, ok bool) {
	info, ok := g.info[node]
	return info.File, ok
}

// file returns the path of the file below the node of an image.
func (g *blockGraph) file(node string) string {
	for id, name := range g.names {
		if name == node && !g.backends[id] {
			return g.info[g.names[g.below[id]["file"]]].File
		}
	}
	return ""
}
