package vm

import (
	"fmt"
	"slices"
	"strings"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/internal/layered"
)

// python turns the keys of a file that was written for the Python maqet into those of a
// Config, in the tree of that file. What has no meaning in a Config is a problem.
type python struct {
	root     *layered.Node
	rules    *layered.Arranger
	problems []errors.Problem
}

// convertPython converts what root has of the Python maqet's keys; other keys stay.
func convertPython(root *layered.Node, rules *layered.Arranger) []errors.Problem {
	p := &python{root: root, rules: rules}
	if n := root.Get("cpu"); n != nil && n.Kind == layered.Scalar {
		p.root.Set("cpu", n.Pos, wrap("count", n))
	}
	if n := root.Get("display"); n != nil && n.Kind == layered.Scalar {
		p.root.Take("display")
		p.display(n, "display")
	}
	if e, ok := root.Take("vga"); ok && e.Value.Kind != layered.Null {
		p.vga(e.Value, "vga")
	}
	if e, ok := root.Take("storage"); ok {
		p.storage(e)
	}
	if e, ok := root.Take("arguments"); ok {
		p.arguments(e)
	}
	return p.problems
}

// wrap returns a mapping of one key.
func wrap(key string, value *layered.Node) *layered.Node {
	m := layered.NewMap(value.Pos)
	m.Set(key, value.Pos, value)
	return m
}

func (p *python) add(at layered.Pos, field, value, message, fix string) {
	p.problems = append(p.problems, at.Problem(field, value, message, fix))
}

// put sets a field of the Config, such as "boot.kernel". One that the file sets otherwise is
// a problem of the field that was converted.
func (p *python) put(field, key string, value *layered.Node) {
	path := strings.Split(key, ".")
	m := p.root
	for _, part := range path[:len(path)-1] {
		next := m.Get(part)
		if next == nil || next.Kind == layered.Null {
			next = layered.NewMap(value.Pos)
			m.Set(part, value.Pos, next)
		}
		if next.Kind != layered.Map {
			return // a problem of its own
		}
		m = next
	}
	last := path[len(path)-1]
	if before := m.Get(last); before != nil && before.String() != value.String() {
		p.add(value.Pos, field, value.Text, fmt.Sprintf("says otherwise than line %d, both mean %s", before.Pos.Line, key), "keep one of them")
		return
	}
	m.Set(last, value.Pos, value)
}

// push adds an item to one of the Config's lists.
func (p *python) push(list string, items ...*layered.Node) {
	l := p.root.Get(list)
	if l == nil || l.Kind == layered.Null {
		l = layered.NewList(items[0].Pos)
		p.root.Set(list, items[0].Pos, l)
	}
	if l.Kind == layered.List { // else that is a problem of its own
		l.Append(items...)
	}
}

// windows are QEMU's displays that are windows or terminals of the user.
var windows = []string{"gtk", "sdl", "curses", "cocoa", "dbus", "egl-headless"}

// display is QEMU's -display: maqet has no windows.
func (p *python) display(n *layered.Node, field string) {
	kind, _, _ := strings.Cut(n.Text, ",")
	kind, _, _ = strings.Cut(kind, "=")
	switch {
	case n.Text == "none":
		p.put(field, "display.type", n)
	case n.Text == "spice-app":
		p.put(field, "display.type", layered.NewText(DisplaySpice, n.Pos))
	case kind == "vnc":
		p.add(n.Pos, field, n.Text, "can't be kept: maqet's VNC listens on a unix socket", "write display: {type: vnc}")
	case slices.Contains(windows, kind):
		p.add(n.Pos, field, n.Text, "is a window, and maqet opens none", "write display: {type: vnc} and look at it with a VNC viewer, or display: none")
	case kind == "spice-app":
		p.add(n.Pos, field, n.Text, "can't be kept: a display has no such options", "write display: {type: spice}")
	default:
		p.add(n.Pos, field, n.Text, "is not a display", "write display: none, or display: {type: vnc}")
	}
}

// vga is QEMU's -vga.
func (p *python) vga(n *layered.Node, field string) {
	if slices.Contains([]string{"none", "std", "virtio", "qxl", "cirrus"}, n.Text) && n.Kind == layered.Scalar {
		p.put(field, "display.adapter", n)
		return
	}
	p.add(n.Pos, field, n.Text, "is not a graphics adapter that maqet has by this name",
		"use none, std, virtio, qxl or cirrus; others as a device, such as devices: [{driver: vmware-svga}]")
}
