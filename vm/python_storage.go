package vm

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/maqet/maqet/internal/layered"
)

// Keys of the Python maqet's storage devices.
var (
	pythonDiskKeys  = []string{"name", "type", "file", "path", "size", "interface", "backing_file", "backing_format", "media", "readonly"}
	pythonShareKeys = []string{"name", "type", "path", "options", "mount_tag", "id", "readonly", "security_model"}
)

// storage turns the list of storage devices into disks and shares.
func (p *python) storage(e layered.Entry) {
	if e.Value.Kind == layered.Null {
		return
	}
	if e.Value.Kind != layered.List {
		p.add(e.At, "storage", "", "is not a list", "write each device in a line of its own, with a dash in front")
		return
	}
	for i, item := range e.Value.Items() {
		field := fmt.Sprintf("storage[%d]", i)
		if item.Kind != layered.Map {
			p.add(item.Pos, field, item.Text, "is not a mapping", "write its keys: file, type, size, ...")
			continue
		}
		keys := pythonDiskKeys
		isShare := textOf(item.Get("type")) == "virtfs"
		if isShare {
			keys = pythonShareKeys
		}
		if !p.onlyKeys(item, field, keys) {
			continue
		}
		if isShare {
			p.share(item, field)
		} else {
			p.disk(item, field)
		}
	}
}

func textOf(n *layered.Node) string {
	if n == nil {
		return ""
	}
	return n.Text
}

// onlyKeys checks the keys of a mapping, whose values have to be single ones but for options.
func (p *python) onlyKeys(m *layered.Node, field string, keys []string) bool {
	before := len(p.problems)
	for _, e := range m.Entries {
		switch at := layered.Join(field, e.Key); {
		case !slices.Contains(keys, e.Key):
			fix := "known here: " + strings.Join(keys, ", ") + "; a disk of maqet's own keys goes to disks"
			if near := layered.Nearest(e.Key, keys); near != "" {
				fix = fmt.Sprintf("did you mean %s?", near)
			}
			p.add(e.At, at, "", "is not a key that maqet understands in a storage device", fix)
		case e.Key != "options" && e.Value.Kind != layered.Scalar:
			p.add(e.At, at, "", "has no single value", "write one value behind the key")
		}
	}
	return len(p.problems) == before
}

// diskTypes has, by the Python maqet's type of a storage device, the format of its image.
var diskTypes = map[string]string{"": FormatQcow2, "qcow2": FormatQcow2, "raw": FormatRaw, "cdrom": FormatRaw}

// disk converts a device that is a file. The Python maqet made a file that was missing,
// also when its path was mistyped; maqet makes only images that it keeps itself.
func (p *python) disk(item *layered.Node, field string) {
	disk, typ := layered.NewMap(item.Pos), textOf(item.Get("type"))
	format, known := diskTypes[typ]
	if !known {
		p.add(item.Get("type").Pos, field+".type", typ, "is not a type of image that maqet uses",
			"use qcow2, raw or virtfs; convert others with: qemu-img convert -O qcow2 OLD NEW.qcow2")
		return
	}
	file := item.Get("file")
	if path := item.Get("path"); file == nil {
		file = path
	} else if path != nil && path.Text != file.Text {
		p.add(path.Pos, field+".path", path.Text, "says otherwise than file, both mean the image", "keep one of them")
		return
	}
	backing, size := item.Get("backing_file"), item.Get("size")
	p.copy(item, disk, "name", "name")
	p.copy(item, disk, "media", "media")
	p.copy(item, disk, "readonly", "read_only")
	switch {
	case file != nil:
		if !p.present(file, backing, field) {
			return
		}
		disk.Set("path", file.Pos, file)
		disk.Set("format", file.Pos, layered.NewText(format, file.Pos))
		if typ == MediaCDROM {
			disk.Set("media", file.Pos, layered.NewText(MediaCDROM, file.Pos))
		}
	case backing != nil:
		of := item.Get("backing_format")
		if of == nil {
			of = layered.NewText(FormatQcow2, backing.Pos)
		}
		disk.Set("base", backing.Pos, backing)
		disk.Set("format", of.Pos, of)
		disk.Set("keep", item.Pos, layered.NewBool(true, item.Pos))
	default:
		if size == nil {
			size = layered.NewText("10G", item.Pos)
		}
		disk.Set("size", size.Pos, size)
		disk.Set("keep", item.Pos, layered.NewBool(true, item.Pos))
	}
	if p.bus(item, disk, field) {
		p.push("disks", disk)
	}
}

// present reports whether an image is there. Its size, and what it is based on, are its own.
func (p *python) present(file, backing *layered.Node, field string) bool {
	path := p.rules.Resolve(file)
	if path == "" {
		return true // the path's own problem
	}
	if _, err := os.Stat(path); err == nil {
		return true
	}
	fix := "correct the path, make it with qemu-img create, or leave file out: maqet makes an image of that size itself"
	if backing != nil {
		base := p.rules.Resolve(backing)
		if !filepath.IsAbs(backing.Text) {
			base = filepath.Join(filepath.Dir(path), backing.Text)
		}
		fix = "write disks: [{base: " + base + "}], for which maqet keeps the overlay itself"
	}
	p.add(file.Pos, field+".file", file.Text, "does not exist, and maqet makes no image at a path that is given", fix)
	return false
}

// bus is the device's interface.
func (p *python) bus(item, disk *layered.Node, field string) bool {
	n := item.Get("interface")
	switch textOf(n) {
	case "":
	case "virtio", "sata", "ide", "scsi":
		disk.Set("interface", n.Pos, n)
	default:
		p.add(n.Pos, field+".interface", n.Text, "can't be kept: each disk of maqet has a device of its own", "use virtio, sata, ide or scsi")
		return false
	}
	return true
}

func (p *python) copy(from, to *layered.Node, key, as string) {
	if i := from.Get(key); i != nil {
		to.Set(as, i.Pos, i)
	}
}

// share converts a device of type virtfs. They are writable unless they say otherwise, and
// keep the guest's owners and modes.
func (p *python) share(item *layered.Node, field string) {
	options := item.Get("options")
	switch {
	case options == nil || options.Kind == layered.Null:
	case options.Kind != layered.Map:
		p.add(options.Pos, field+".options", options.Text, "is not a mapping", "write its keys: mount_tag, readonly, security_model")
		return
	case !p.onlyKeys(options, field+".options", []string{"mount_tag", "id", "readonly", "security_model"}):
		return
	}
	for _, e := range item.Entries {
		if inner := options.Get(e.Key); inner != nil && inner.Text != e.Value.Text {
			p.add(inner.Pos, field+".options."+e.Key, inner.Text, "says otherwise than the share itself", "keep one of them")
			return
		}
	}
	option := func(key string) *layered.Node {
		if n := options.Get(key); n != nil {
			return n
		}
		return item.Get(key)
	}
	share := layered.NewMap(item.Pos)
	p.copy(item, share, "name", "name")
	if tag := option("mount_tag"); tag != nil {
		share.Set("name", tag.Pos, tag)
	}
	if id := option("id"); id != nil && id.Text != textOf(share.Get("name")) {
		p.add(id.Pos, field+".id", id.Text, "can't be kept: maqet names its devices itself", "remove it")
		return
	}
	p.copy(item, share, "path", "path")
	share.Set("type", item.Pos, layered.NewText(Share9p, item.Pos))
	security := option("security_model")
	if security == nil {
		security = layered.NewText("passthrough", item.Pos)
	}
	share.Set("security", security.Pos, security)
	writable := layered.NewBool(true, item.Pos)
	if readonly := option("readonly"); readonly != nil {
		on, ok := switchOf(readonly.Text)
		if !ok {
			p.add(readonly.Pos, field+".readonly", readonly.Text, "is not a switch", "write true or false")
			return
		}
		writable = layered.NewBool(!on, readonly.Pos)
	}
	share.Set("writable", writable.Pos, writable)
	p.push("shares", share)
}

// switchOf reads a bool as QEMU and YAML 1.1 write it.
func switchOf(text string) (on, ok bool) {
	switch strings.ToLower(text) {
	case "on", "true", "yes":
		return true, true
	case "off", "false", "no":
		return false, true
	}
	return false, false
}
