package storage

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math/bits"
	"path/filepath"
	"strings"

	"github.com/maqet/maqet/errors"
)

// qcow2 is what the head of a qcow2 image says (QEMU, docs/interop/qcow2.txt).
type qcow2 struct {
	size      int64
	backing   string // as it is written there
	format    string // of the backing file; empty: not stated
	cipher    uint32 // crypt_method; 0: it is not encrypted
	dirty     bool   // it was not closed well: its reference counts may be wrong
	corrupt   bool
	external  bool   // the data is in another file
	dataFile  string // its name, if it is stated
	clusters  int64  // size of a cluster in bytes
	snapshots uint32 // how many internal ones it has
	bitmaps   bool   // it has persistent dirty bitmaps
	lazy      bool   // reference counts are written late
	unknown   uint64 // incompatible features that have no name here
	names     map[int]string
}

// Bits of the field incompatible_features.
const (
	featureDirty       = 1 << 0
	featureCorrupt     = 1 << 1
	featureDataFile    = 1 << 2
	featureCompression = 1 << 3
	featureExtendedL2  = 1 << 4
	knownFeatures      = featureDirty | featureCorrupt | featureDataFile | featureCompression | featureExtendedL2
)

// featureLazy is a bit of the field compatible_features.
const featureLazy = 1 << 0

// cipherLUKS is the crypt_method of images that are encrypted with LUKS.
const cipherLUKS = 2

// Types of header extensions.
const (
	extensionEnd      = 0
	extensionFormat   = 0xe2792aca
	extensionFeatures = 0x6803f857
	extensionDataFile = 0x44415441
	extensionBitmaps  = 0x23852875
)

// qcow2Header is the part of the header that every version has.
type qcow2Header struct {
	Magic, Version                      uint32
	BackingOffset                       uint64
	BackingSize, ClusterBits            uint32
	Size                                uint64
	CryptMethod, L1Size                 uint32
	L1Offset, RefcountOffset            uint64
	RefcountClusters, SnapshotCount     uint32
	SnapshotOffset                      uint64
	Incompatible, Compatible, AutoClear uint64 // these and the next from version 3 on
	RefcountOrder, HeaderLength         uint32
}

const (
	headerV2 = 72
	headerV3 = 104
	// usualHeader is how much of the first cluster is read: what nearly all headers take.
	usualHeader = 4 << 10
	// maxHeader is how much of it is read if that was not enough: more than any header needs.
	maxHeader = 64 << 10
)

// readQcow2 reads the head of a qcow2 image.
func readQcow2(r io.ReaderAt) (q qcow2, err error) {
	for _, size := range []int{usualHeader, maxHeader} {
		head := make([]byte, size)
		n, err := r.ReadAt(head, 0)
		if err != nil && err != io.EOF {
			return q, err
		}
		q, whole, err := parseQcow2(head[:n])
		if whole || n < size || size == maxHeader {
			return q, err
		}
	}
	return q, nil
}

// parseQcow2 takes the beginning of an image apart. whole is false where more of it could say
// something else.
func parseQcow2(head []byte) (q qcow2, whole bool, err error) {
	h, err := parseHeader(head)
	if err != nil {
		return q, false, err
	}
	q = qcow2{
		dirty: h.Incompatible&featureDirty != 0,
		size:  int64(h.Size), cipher: h.CryptMethod, corrupt: h.Incompatible&featureCorrupt != 0,
		external: h.Incompatible&featureDataFile != 0, unknown: h.Incompatible &^ knownFeatures,
		clusters: 1 << h.ClusterBits, snapshots: h.SnapshotCount, lazy: h.Compatible&featureLazy != 0,
	}
	end := min(len(head), 1<<h.ClusterBits)
	if h.BackingOffset != 0 {
		from, to := h.BackingOffset, h.BackingOffset+uint64(h.BackingSize)
		if h.BackingSize > maxBackingName || from > uint64(end) || to > uint64(end) {
			return q, false, damaged("the name of its base is outside of its header")
		}
		q.backing = string(head[from:to])
		end = int(from)
	}
	ended, err := q.extensions(head[:end], int(h.HeaderLength))
	return q, err == nil && (ended || q.backing != ""), err
}

func parseHeader(head []byte) (qcow2Header, error) {
	var h qcow2Header
	if len(head) < headerV2 {
		return h, damaged("it is too short")
	}
	full := make([]byte, headerV3)
	copy(full, head)
	if err := binary.Read(bytes.NewReader(full), binary.BigEndian, &h); err != nil {
		return h, err
	}
	switch {
	case h.Version == 2:
		h.Incompatible, h.Compatible, h.HeaderLength = 0, 0, headerV2
	case h.Version != 3:
		return h, damaged(fmt.Sprintf("it has the version %d, and 2 and 3 are known", h.Version))
	case len(head) < headerV3 || h.HeaderLength < headerV3 || int64(h.HeaderLength) > int64(len(head)):
		return h, damaged("its header is cut off")
	}
	if h.ClusterBits < 9 || h.ClusterBits > 21 || h.Size > 1<<62 {
		return h, damaged("its header makes no sense")
	}
	return h, nil
}

// extensions reads what follows the header, up to the name of the base. ended is true if it
// came to their end.
func (q *qcow2) extensions(head []byte, at int) (ended bool, err error) {
	for at+8 <= len(head) {
		kind, size := binary.BigEndian.Uint32(head[at:]), int64(binary.BigEndian.Uint32(head[at+4:]))
		at += 8
		if kind == extensionEnd {
			return true, nil
		}
		if size > int64(len(head)-at) {
			return false, damaged("its header's extensions are cut off")
		}
		data := head[at : at+int(size)]
		switch kind {
		case extensionFormat:
			q.format = string(data)
		case extensionDataFile:
			q.dataFile = string(data)
		case extensionBitmaps:
			q.bitmaps = true
		case extensionFeatures:
			q.names = featureNames(data)
		}
		at += int(size+7) &^ 7
	}
	return false, nil
}

// featureEntry is the size of an entry of the feature name table in bytes.
const featureEntry = 48

// featureNames reads the feature name table: the names of incompatible features by bit.
func featureNames(table []byte) map[int]string {
	names := map[int]string{}
	for ; len(table) >= featureEntry; table = table[featureEntry:] {
		if table[0] == 0 {
			names[int(table[1])] = string(bytes.TrimRight(table[2:featureEntry], "\x00"))
		}
	}
	return names
}

// features names the features that are not known.
func (q *qcow2) features() string {
	var names []string
	for left := q.unknown; left != 0; left &= left - 1 {
		bit := bits.TrailingZeros64(left)
		name := q.names[bit]
		if name == "" {
			name = fmt.Sprintf("number %d", bit)
		}
		names = append(names, name)
	}
	return strings.Join(names, ", ")
}

// usable says what keeps QEMU, as maqet runs it, from working with the image. keyed says
// whether QEMU is given a key.
func (q *qcow2) usable(keyed bool) (msg, fix string) {
	const convert = `make a plain image of it with "qemu-img convert -O qcow2"`
	switch {
	case q.cipher != 0 && q.cipher != cipherLUKS:
		return "is encrypted in a way that QEMU gave up", convert
	case q.cipher != 0 && !keyed:
		return "is encrypted, and QEMU is given no key", "state the file with its key (key_file), or " + convert
	case q.external:
		return fmt.Sprintf("keeps its data in another file (%q)", q.dataFile), convert
	case q.unknown != 0:
		return "has features that are not known: " + q.features(), convert + " of the program that made it"
	case q.corrupt:
		return "is marked as corrupt", `repair it with "qemu-img check -r all"`
	}
	return "", ""
}

// base returns the path of the image's base, empty if it has none; path is the image's own.
func (q *qcow2) base(path string) (string, error) {
	if q.backing == "" {
		return "", nil
	}
	if colon := strings.IndexAny(q.backing, ":/"); colon >= 0 && q.backing[colon] == ':' { // path_has_protocol in QEMU's block.c
		return "", errors.New("is no file")
	}
	if filepath.IsAbs(q.backing) {
		return q.backing, nil
	}
	return filepath.Join(filepath.Dir(path), q.backing), nil
}

func damaged(how string) error { return errors.New("is damaged: " + how) }
