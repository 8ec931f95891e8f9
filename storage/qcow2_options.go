package storage

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Ways to preallocate an image (QEMU manual, "Disk image file formats", preallocation).
const (
	PreallocationOff      = "off"      // nothing: the file grows as the guest writes
	PreallocationMetadata = "metadata" // the tables only: the file has holes
	PreallocationFalloc   = "falloc"   // blocks are reserved, and not written
	PreallocationFull     = "full"     // zeros are written
)

// Ways to compress clusters. An image is compressed where it is converted so: what a guest
// writes later is not.
const (
	CompressionZlib = "zlib"
	CompressionZstd = "zstd" // quicker; unknown to QEMU before 5.1
)

// Limits of a qcow2 image's clusters in bytes (QEMU, docs/interop/qcow2.txt, cluster_bits).
const (
	minClusterSize = 512
	maxClusterSize = 2 << 20
)

// Qcow2Options says how a qcow2 image is laid out. The zero value is what QEMU does when it
// is told nothing (QEMU manual, "Disk image file formats", qcow2).
type Qcow2Options struct {
	// ClusterSize is the unit of allocation in bytes: a power of two from 512 to 2 MiB. 0: 64 KiB.
	ClusterSize int64
	// Preallocation is one of PreallocationOff, Metadata, Falloc and Full. Empty: off.
	Preallocation string
	// LazyRefcounts makes writes that allocate cheaper, and the image in need of a repair,
	// which QEMU does by itself, when QEMU was killed.
	LazyRefcounts bool
	// Compression is CompressionZlib or CompressionZstd: how clusters are compressed, if any
	// are. Empty: zlib.
	Compression string
}

// check refuses what QEMU does not know. All that it lets pass is safe in an option list.
func (o Qcow2Options) check() error {
	size := o.ClusterSize
	if size != 0 && (size < minClusterSize || size > maxClusterSize || size&(size-1) != 0) {
		return fmt.Errorf("cluster size %d is not a power of two from %d to %d bytes", size, minClusterSize, maxClusterSize)
	}
	if err := oneOf("preallocation", o.Preallocation, PreallocationOff, PreallocationMetadata, PreallocationFalloc, PreallocationFull); err != nil {
		return err
	}
	return oneOf("compression", o.Compression, CompressionZlib, CompressionZstd)
}

// oneOf refuses a value that is set and none of those that are known.
func oneOf(what, value string, known ...string) error {
	if value == "" || slices.Contains(known, value) {
		return nil
	}
	return fmt.Errorf("%s %q is none of %s", what, value, strings.Join(known, ", "))
}

// args returns qemu-img's arguments for checked options.
func (o Qcow2Options) args() []string {
	var list []string
	if o.ClusterSize != 0 {
		list = append(list, "cluster_size="+strconv.FormatInt(o.ClusterSize, 10))
	}
	if o.Preallocation != "" {
		list = append(list, "preallocation="+o.Preallocation)
	}
	if o.LazyRefcounts {
		list = append(list, "lazy_refcounts=on")
	}
	if o.Compression != "" {
		list = append(list, "compression_type="+o.Compression)
	}
	if len(list) == 0 {
		return nil
	}
	return []string{"-o", strings.Join(list, ",")}
}
