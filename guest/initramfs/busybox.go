//go:build linux

package initramfs

import (
	"bytes"
	"debug/elf"
	"os"
	"strings"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/internal/artifact"
	"github.com/maqet/maqet/internal/ldso"
)

// busyboxPaths are where distributions have it.
var busyboxPaths = []string{"/bin/busybox", "/usr/bin/busybox", "/bin/busybox.static", "/usr/lib/busybox/busybox-static"}

// modprobe is the applet that is left out: the kernel runs it, if it is there, for each
// algorithm that it looks for while it boots, and each run of a program costs an emulated
// guest some 50 ms. Init makes the link when the guest is up.
const modprobe = "modprobe"

// addBusybox adds busybox and a link for each applet. The links are in the archive
// because that is faster than running `busybox --install` in an emulated guest.
func (b Builder) addBusybox(t *tree, inputs *artifact.Inputs) error {
	bin := b.Busybox
	switch bin {
	case "none":
		return nil
	case "":
		var err error
		if bin, err = findBusybox(inputs); err != nil || bin == "" {
			return err
		}
	default:
		if err := inputs.Add(bin); err != nil {
			return invalid("add busybox", err)
		}
		if ok, err := isStatic(bin); err != nil {
			return invalid("add busybox", err)
		} else if !ok {
			return invalid("add busybox", errors.New(bin+" is not linked statically (install busybox-static)"))
		}
	}
	data, err := os.ReadFile(bin)
	if err != nil {
		return invalid("add busybox", err)
	}
	names := applets(data)
	if len(names) == 0 {
		return invalid("add busybox", errors.New(bin+" holds no list of applets: is it a busybox?"))
	}
	if err := t.host("bin/busybox", bin, 0o755); err != nil {
		return err
	}
	for _, name := range names {
		if name == "busybox" || name == modprobe {
			continue
		}
		if err := t.link("bin/"+name, "busybox"); err != nil {
			return err
		}
	}
	return nil
}

// applets reads the names of a busybox's applets from its program, since one for another
// architecture can't be asked: they are in it in ascending order, each ended by a zero byte,
// from "[" to an empty one (busybox, applets/applet_tables.c).
func applets(program []byte) []string {
	at := bytes.Index(program, []byte("[\x00[[\x00"))
	if at < 0 {
		return nil
	}
	var names []string
	for field := range bytes.SplitSeq(program[at:], []byte{0}) {
		name := string(field)
		if name == "" {
			return names
		}
		if strings.ContainsAny(name, "/ ") || len(names) > 0 && name <= names[len(names)-1] {
			return nil
		}
		names = append(names, name)
	}
	return nil
}

// findBusybox returns the host's static busybox, "" when there is none.
func findBusybox(inputs *artifact.Inputs) (string, error) {
	for _, path := range busyboxPaths {
		if err := inputs.Add(path); err != nil {
			return "", err
		}
		if ok, err := isStatic(path); err == nil && ok {
			return path, nil
		}
	}
	return "", nil
}

// isStatic reports whether the program at path needs no other file to run.
func isStatic(path string) (bool, error) {
	f, err := elf.Open(path)
	if err != nil {
		return false, err
	}
	defer f.Close()
	return ldso.Interpreter(f) == "" && (f.Type == elf.ET_EXEC || f.Type == elf.ET_DYN), nil
}
