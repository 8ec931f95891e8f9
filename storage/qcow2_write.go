package storage

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"math/bits"
	"os"
)

// defaultClusterSize is what Qcow2Options.ClusterSize stands for when it is 0.
const defaultClusterSize = 64 << 10

// Sizes that the qcow2 format fixes (QEMU, docs/interop/qcow2.txt), and QEMU's bound of what
// it keeps in memory of an image (QCOW_MAX_L1_SIZE in block/qcow2.h).
const (
	tableEntry  = 8 // bytes, in L1, L2 and refcount tables
	refcount    = 2 // bytes, of refcount order 4
	maxL1Bytes  = 32 << 20
	maxL1       = maxL1Bytes / tableEntry
	headerBytes = 112 // with the compression type, and padded
	// magicNumber is "QFI\xfb".
	magicNumber     = 0x514649fb
	refcountOrder   = 4
	compressionZstd = 1
	lazyRefcounts   = 1 << 0 // bit of compatible_features
)

// blank is an empty qcow2 image that is to be written. It is written here and not by
// qemu-img because starting a program takes far longer than the few hundred bytes that there
// are to write.
type blank struct {
	size            int64  // bytes, a multiple of sector
	backing, format string // empty: it stands on no other image
	options         Qcow2Options
}

func (b blank) cluster() int64 { return cmp.Or(b.options.ClusterSize, defaultClusterSize) }

// direct reports whether an image is written here; else qemu-img makes it.
func (o Qcow2Options) direct() bool {
	return o.Preallocation == "" || o.Preallocation == PreallocationOff
}

// check refuses an image that the format, or QEMU, has no room for.
func (b blank) check() error {
	perEntry := b.perEntry()
	if b.size > maxL1*perEntry {
		return fmt.Errorf("size %d is more than the %d bytes that a qcow2 image with clusters of %d bytes can have",
			b.size, maxL1*perEntry, b.cluster())
	}
	if room := b.nameRoom(); int64(len(b.backing)) > room {
		return fmt.Errorf("the path of its base has %d bytes, and qcow2 images with clusters of %d bytes can name %d",
			len(b.backing), b.cluster(), room)
	}
	return nil
}

// perEntry is how many bytes of the image one entry of the L1 table stands for: an L2 table
// of one cluster.
func (b blank) perEntry() int64 { return b.cluster() / tableEntry * b.cluster() }

// nameRoom is how long the name of the base can be: the header ends with the first cluster.
func (b blank) nameRoom() int64 {
	return min(maxBackingName, b.cluster()-headerBytes-int64(len(b.extensions())))
}

// tables says where the tables of an image lie, in clusters: after the header the refcount
// table, its blocks, and the L1 table, without a gap.
type tables struct {
	refTable, refBlocks, l1 int64 // how many clusters each has
	l1Entries               int64
}

func (t tables) total() int64 { return 1 + t.refTable + t.refBlocks + t.l1 }

// tables counts the clusters. The refcounts count their own clusters, too, so that the
// counting is repeated until it holds; each round adds some, at most a few.
func (b blank) tables() tables {
	cluster := b.cluster()
	t := tables{refTable: 1, refBlocks: 1, l1Entries: ceil(b.size, b.perEntry())}
	t.l1 = ceil(t.l1Entries*tableEntry, cluster)
	for {
		refBlocks := ceil(t.total()*refcount, cluster)
		refTable := ceil(refBlocks*tableEntry, cluster)
		if refBlocks == t.refBlocks && refTable == t.refTable {
			return t
		}
		t.refBlocks, t.refTable = refBlocks, refTable
	}
}

// write makes a checked image of an empty file. The header, which is less than a page of the
// host, is written last and in one piece: until then the file is no image.
func (b blank) write(file *os.File) error {
	t, cluster := b.tables(), b.cluster()
	if err := file.Truncate(t.total() * cluster); err != nil { // the rest is zeros, in holes
		return err
	}
	blocks := make([]byte, 0, t.refBlocks*tableEntry)
	for i := range t.refBlocks {
		blocks = binary.BigEndian.AppendUint64(blocks, uint64((1+t.refTable+i)*cluster))
	}
	counts := bytes.Repeat([]byte{0, 1}, int(t.total()))
	for _, part := range []struct {
		data []byte
		at   int64
	}{{blocks, cluster}, {counts, (1 + t.refTable) * cluster}, {b.header(t), 0}} {
		if _, err := file.WriteAt(part.data, part.at); err != nil {
			return err
		}
	}
	return nil
}

// header returns all that is in the first cluster.
func (b blank) header(t tables) []byte {
	cluster := uint64(b.cluster())
	h := qcow2Header{
		Magic: magicNumber, Version: 3, ClusterBits: uint32(bits.TrailingZeros64(cluster)), Size: uint64(b.size),
		RefcountOffset: cluster, RefcountClusters: uint32(t.refTable), RefcountOrder: refcountOrder,
		L1Offset: uint64(1+t.refTable+t.refBlocks) * cluster, L1Size: uint32(t.l1Entries), HeaderLength: headerBytes,
	}
	compression := byte(0)
	if b.options.Compression == CompressionZstd {
		h.Incompatible, compression = featureCompression, compressionZstd
	}
	if b.options.LazyRefcounts {
		h.Compatible = lazyRefcounts
	}
	extensions := b.extensions()
	if b.backing != "" {
		h.BackingOffset, h.BackingSize = uint64(headerBytes+len(extensions)), uint32(len(b.backing))
	}
	out, _ := binary.Append(nil, binary.BigEndian, h) // fails for types without a fixed size only
	out = append(out, compression, 0, 0, 0, 0, 0, 0, 0)
	out = append(out, extensions...)
	return append(out, b.backing...)
}

// extensions returns the header's extensions, with their end.
func (b blank) extensions() (out []byte) {
	add := func(kind uint32, data []byte) {
		out = binary.BigEndian.AppendUint32(out, kind)
		out = binary.BigEndian.AppendUint32(out, uint32(len(data)))
		out = append(out, data...)
		out = append(out, make([]byte, -len(data)&7)...)
	}
	if b.backing != "" {
		add(extensionFormat, []byte(b.format))
	}
	if b.cluster() > namelessCluster {
		add(extensionFeatures, featureTable())
	}
	add(extensionEnd, nil)
	return out
}

// namelessCluster is the largest cluster in which QEMU leaves the names of features out, so
// that there is room for that of the base.
const namelessCluster = 4 << 10

// featureTable names the features of qcow2 images, for programs that know fewer.
func featureTable() (table []byte) {
	for _, f := range []struct {
		kind, bit byte // kind 0: incompatible, 1: compatible, 2: cleared by who does not know it
		name      string
	}{
		{0, 0, "dirty bit"}, {0, 1, "corrupt bit"}, {0, 2, "external data file"}, {0, 3, "compression type"},
		{0, 4, "extended L2 entries"}, {1, 0, "lazy refcounts"}, {2, 0, "bitmaps"}, {2, 1, "raw external data"},
	} {
		entry := [featureEntry]byte{f.kind, f.bit}
		copy(entry[2:], f.name)
		table = append(table, entry[:]...)
	}
	return table
}

func ceil(a, b int64) int64 { return (a + b - 1) / b }
