package wire

import (
	"encoding/binary"
	"fmt"
	"io"
	"io/fs"
	"time"
)

// EntryKind is a kind of file in a tree.
type EntryKind uint8

// The kinds of files that travel.
const (
	entryEnd EntryKind = iota // a whole tree's last record
	EntryFile
	EntryDir
	EntrySymlink
	EntryHardLink // Link names an earlier entry
)

// Entry is one file of a tree on its way: cheaper to read for a guest under
// emulation than tar's headers. A file's Size bytes follow it.
type Entry struct {
	Kind    EntryKind
	Name    string      // slash separated, relative to the tree's root; "." is the root itself
	Link    string      // a link's target
	Mode    fs.FileMode // permissions with set-id and sticky bits
	ModTime time.Time
	Size    int64 // bytes of a file's content
}

const (
	entryHeader = 1 + 4 + 8 + 4 + 8 + 2 + 2
	maxName     = 4096 // PATH_MAX
	modeBits    = fs.ModePerm | fs.ModeSetuid | fs.ModeSetgid | fs.ModeSticky
)

// Send writes the entry; the file's content is to follow.
func (e *Entry) Send(out *Out) error {
	if len(e.Name) > maxName || len(e.Link) > maxName {
		return fmt.Errorf("wire: name of %d bytes is too long: %.40q", max(len(e.Name), len(e.Link)), e.Name)
	}
	var b [entryHeader]byte
	b[0] = byte(e.Kind)
	binary.LittleEndian.PutUint32(b[1:], uint32(e.Mode&modeBits))
	binary.LittleEndian.PutUint64(b[5:], uint64(e.ModTime.Unix()))
	binary.LittleEndian.PutUint32(b[13:], uint32(e.ModTime.Nanosecond()))
	binary.LittleEndian.PutUint64(b[17:], uint64(e.Size))
	binary.LittleEndian.PutUint16(b[25:], uint16(len(e.Name)))
	binary.LittleEndian.PutUint16(b[27:], uint16(len(e.Link)))
	for _, p := range []string{string(b[:]), e.Name, e.Link} {
		if _, err := io.WriteString(out, p); err != nil {
			return err
		}
	}
	return nil
}

// SendEnd says that the tree is complete.
func SendEnd(out *Out) error {
	end := Entry{Kind: entryEnd}
	if err := end.Send(out); err != nil {
		return err
	}
	return out.Flush()
}

// ReceiveEntry reads the next entry; its content, if any, is to be read with
// In.CopyN. After a complete tree it returns io.EOF.
func ReceiveEntry(in *In) (Entry, error) {
	var b [entryHeader + 2*maxName]byte
	if _, err := io.ReadFull(in, b[:entryHeader]); err != nil {
		return Entry{}, unexpected(err)
	}
	nsec := binary.LittleEndian.Uint32(b[13:])
	e := Entry{
		Kind:    EntryKind(b[0]),
		Mode:    fs.FileMode(binary.LittleEndian.Uint32(b[1:])) & modeBits,
		ModTime: time.Unix(int64(binary.LittleEndian.Uint64(b[5:])), int64(nsec)),
		Size:    int64(binary.LittleEndian.Uint64(b[17:])),
	}
	name, link := int(binary.LittleEndian.Uint16(b[25:])), int(binary.LittleEndian.Uint16(b[27:]))
	if e.Kind > EntryHardLink || e.Size < 0 || nsec >= 1e9 || name > maxName || link > maxName {
		return Entry{}, fmt.Errorf("%w: bad tree entry % x", ErrProtocol, b[:entryHeader])
	}
	if e.Kind == entryEnd {
		return Entry{}, io.EOF
	}
	text := b[entryHeader : entryHeader+name+link]
	if _, err := io.ReadFull(in, text); err != nil {
		return Entry{}, unexpected(err)
	}
	e.Name, e.Link = string(text[:name]), string(text[name:])
	return e, nil
}

// unexpected is for places where the end of a pipe is a fault.
func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
