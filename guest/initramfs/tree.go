//go:build linux

package initramfs

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/u-root/u-root/pkg/cpio"
	"golang.org/x/sys/unix"
)

// tree is the content of an archive by path, without a leading slash. A file that is
// added twice is there once, as added last.
type tree struct {
	entries map[string]entry
}

type entry struct {
	mode  uint32 // type and permissions, as in stat(2)
	data  []byte // content of a file, target of a link
	host  string // file of the host that has the content; empty: data has it
	size  int64  // of host
	major uint32 // of a device
	minor uint32
}

func newTree() *tree { return &tree{entries: map[string]entry{}} }

// aliases are folders that are links to others, as in every distribution today.
var aliases = []struct{ link, target string }{
	{"sbin", "bin"}, {"usr/bin", "bin"}, {"usr/sbin", "bin"},
	{"usr/lib", "lib"}, {"usr/lib64", "lib64"},
}

// resolve returns where a guest path really is, and refuses one outside the tree.
func resolve(guest string) (string, error) {
	p := strings.TrimPrefix(path.Clean("/"+guest), "/")
	if p == "" || strings.ContainsRune(p, 0) {
		return "", fmt.Errorf("%q is no path for a file", guest)
	}
	for _, a := range aliases {
		if rest, ok := strings.CutPrefix(p+"/", a.link+"/"); ok {
			return path.Join(a.target, rest), nil
		}
	}
	return p, nil
}

// put adds an entry and the folders above it.
func (t *tree) put(guest string, e entry) error {
	p, err := resolve(guest)
	if err != nil {
		return err
	}
	for dir := path.Dir(p); dir != "."; dir = path.Dir(dir) {
		above, ok := t.entries[dir]
		if !ok {
			t.entries[dir] = entry{mode: unix.S_IFDIR | 0o755}
		} else if above.mode&unix.S_IFMT != unix.S_IFDIR {
			return fmt.Errorf("/%s is below /%s, which is no folder", p, dir)
		}
	}
	old, ok := t.entries[p]
	switch {
	case ok && isFolder(old) != isFolder(e):
		return fmt.Errorf("/%s would be both a folder and a file", p)
	case ok && isFolder(e):
		return nil // the first one's mode stays
	}
	t.entries[p] = e
	return nil
}

func isFolder(e entry) bool { return e.mode&unix.S_IFMT == unix.S_IFDIR }

func (t *tree) folder(guest string, mode uint32) error {
	return t.put(guest, entry{mode: unix.S_IFDIR | mode})
}

func (t *tree) file(guest string, data []byte, mode uint32) error {
	return t.put(guest, entry{mode: unix.S_IFREG | mode, data: data})
}

func (t *tree) link(guest, target string) error {
	return t.put(guest, entry{mode: unix.S_IFLNK | 0o777, data: []byte(target)})
}

func (t *tree) device(guest string, mode, major, minor uint32) error {
	return t.put(guest, entry{mode: unix.S_IFCHR | mode, major: major, minor: minor})
}

// host adds a file of the host. It is read when the archive is written.
func (t *tree) host(guest, host string, mode uint32) error {
	info, err := os.Stat(host)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return &fs.PathError{Op: "add", Path: host, Err: fs.ErrInvalid}
	}
	if info.Size() > math.MaxUint32 {
		return fmt.Errorf("%s: a cpio archive holds files of at most 4 GiB", host)
	}
	return t.put(guest, entry{mode: unix.S_IFREG | mode, host: host, size: info.Size()})
}

// has reports whether guest is in the tree.
func (t *tree) has(guest string) bool {
	p, err := resolve(guest)
	if err != nil {
		return false
	}
	_, ok := t.entries[p]
	return ok
}

// write writes the archive: sorted, so that folders precede what is in them, with
// inode numbers by position and no times.
func (t *tree) write(ctx context.Context, w io.Writer) error {
	buf := bufio.NewWriterSize(w, 1<<20)
	out := cpio.Newc.Writer(buf)
	for i, name := range slices.Sorted(maps.Keys(t.entries)) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := t.entries[name].write(out, name, uint64(i+1)); err != nil {
			return err
		}
	}
	if err := cpio.WriteTrailer(out); err != nil {
		return err
	}
	return buf.Flush()
}

func (e entry) write(out cpio.RecordWriter, name string, inode uint64) error {
	rec := cpio.Record{Info: cpio.Info{
		Name: name, Mode: uint64(e.mode), Ino: inode, NLink: 1,
		Rmajor: uint64(e.major), Rminor: uint64(e.minor),
	}}
	switch {
	case e.host != "":
		f, err := os.Open(e.host)
		if err != nil {
			return err
		}
		defer f.Close()
		rec.FileSize = uint64(e.size)
		rec.ReaderAt = struct{ io.ReaderAt }{f}
	case len(e.data) > 0:
		rec.FileSize = uint64(len(e.data))
		rec.ReaderAt = bytes.NewReader(e.data)
	}
	return out.WriteRecord(rec)
}

// unixMode returns the permission bits of m as stat(2) has them.
func unixMode(m fs.FileMode) uint32 {
	mode := uint32(m.Perm())
	if m&fs.ModeSetuid != 0 {
		mode |= unix.S_ISUID
	}
	if m&fs.ModeSetgid != 0 {
		mode |= unix.S_ISGID
	}
	if m&fs.ModeSticky != 0 {
		mode |= unix.S_ISVTX
	}
	return mode
}
