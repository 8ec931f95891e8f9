package storage

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"time"
)

// snapshotEntry is the part of a row of a qcow2 image's snapshot table that every row has
// (QEMU, docs/interop/qcow2.txt, "Snapshots").
type snapshotEntry struct {
	L1Offset       uint64
	L1Size         uint32
	IDSize         uint16
	NameSize       uint16
	Sec, Nsec      uint32
	ClockNsec      uint64
	VMStateSize    uint32
	ExtraDataSize  uint32
	VMState64      uint64 // from here on extra data, as far as it is there
	ExtraDiskSize  uint64
	ExtraInstCount uint64
}

const (
	snapshotEntrySize = 40
	snapshotExtraSize = 24 // as much of the extra data as is known
)

// Limits of QEMU (block/qcow2.h: QCOW_MAX_SNAPSHOTS, QCOW_MAX_SNAPSHOTS_SIZE,
// QCOW_MAX_SNAPSHOT_EXTRA_DATA). What is beyond them is damaged.
const (
	maxSnapshots     = 65536
	maxSnapshotTable = 1024 * maxSnapshots
	maxSnapshotExtra = 1024
)

// snapshotTable says where the snapshots of an image are recorded.
type snapshotTable struct {
	offset int64
	count  uint32
	size   int64 // of the image: what snapshots of the oldest kind don't say
}

// readSnapshotTable reads the head of a qcow2 image for its table of snapshots.
func readSnapshotTable(r io.ReaderAt) (snapshotTable, error) {
	head := make([]byte, maxHeader)
	n, err := r.ReadAt(head, 0)
	if err != nil && err != io.EOF {
		return snapshotTable{}, err
	}
	h, err := parseHeader(head[:n])
	if err != nil {
		return snapshotTable{}, err
	}
	t := snapshotTable{offset: int64(h.SnapshotOffset), count: h.SnapshotCount, size: int64(h.Size)}
	switch {
	case t.count == 0:
		return snapshotTable{}, nil
	case t.count > maxSnapshots:
		return t, damaged(fmt.Sprintf("it has %d snapshots, and %d are possible", t.count, maxSnapshots))
	case h.SnapshotOffset > math.MaxInt64-maxSnapshotTable || t.offset&(1<<h.ClusterBits-1) != 0 || t.offset == 0:
		return t, damaged("its table of snapshots is at an impossible place")
	}
	return t, nil
}

// read reads the snapshots.
func (t snapshotTable) read(r io.ReaderAt) ([]Snapshot, error) {
	in := &tableReader{in: bufio.NewReader(io.NewSectionReader(r, t.offset, maxSnapshotTable))}
	var list []Snapshot // grows with what is really there
	for range t.count {
		s, err := in.snapshot(t.size)
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return nil, damaged("its table of snapshots is cut off")
		}
		if err != nil {
			return nil, err
		}
		list = append(list, s)
	}
	return list, nil
}

// tableReader reads a table row by row.
type tableReader struct {
	in *bufio.Reader
	at int64
}

func (r *tableReader) snapshot(imageSize int64) (Snapshot, error) {
	var e snapshotEntry
	row := make([]byte, snapshotEntrySize+snapshotExtraSize)
	if err := r.bytes(row[:snapshotEntrySize]); err != nil {
		return Snapshot{}, err
	}
	extra := int(binary.BigEndian.Uint32(row[snapshotEntrySize-4:]))
	if extra > maxSnapshotExtra {
		return Snapshot{}, damaged("a snapshot has too much extra data")
	}
	known := min(extra, snapshotExtraSize)
	if err := r.bytes(row[snapshotEntrySize : snapshotEntrySize+known]); err != nil {
		return Snapshot{}, err
	}
	if err := binary.Read(bytes.NewReader(row), binary.BigEndian, &e); err != nil {
		return Snapshot{}, err
	}
	id, name := make([]byte, e.IDSize), make([]byte, e.NameSize)
	for _, part := range [][]byte{make([]byte, extra-known), id, name} {
		if err := r.bytes(part); err != nil {
			return Snapshot{}, err
		}
	}
	s := Snapshot{
		ID: text(id), Name: text(name), Created: time.Unix(int64(e.Sec), int64(e.Nsec)).UTC(),
		VMClock: time.Duration(min(e.ClockNsec, math.MaxInt64)), Memory: int64(e.VMStateSize), Size: imageSize,
	}
	if extra >= 8 {
		s.Memory = int64(min(e.VMState64, math.MaxInt64))
	}
	if extra >= 16 {
		s.Size = int64(min(e.ExtraDiskSize, math.MaxInt64))
	}
	return s, r.pad()
}

func (r *tableReader) bytes(to []byte) error {
	n, err := io.ReadFull(r.in, to)
	r.at += int64(n)
	return err
}

// pad skips to where the next row begins; after the last one there may be nothing.
func (r *tableReader) pad() error {
	n, err := r.in.Discard(int(-r.at & 7))
	r.at += int64(n)
	if err == io.EOF {
		return nil
	}
	return err
}

// text is what C makes of a string with a zero byte, as QEMU compares names.
func text(b []byte) string {
	b, _, _ = bytes.Cut(b, []byte{0})
	return string(b)
}
