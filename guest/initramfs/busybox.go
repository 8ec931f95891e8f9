//go:build linux

package initramfs

import (
	"bytes"
	"context"
	"debug/elf"
	"os/exec"
	"strings"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/internal/artifact"
)

// busyboxPaths are where distributions have it.
var busyboxPaths = []string{"/bin/busybox", "/usr/bin/busybox", "/bin/busybox.static", "/usr/lib/busybox/busybox-static"}

// modprobe is the applet that is left out: the kernel runs it, if it is there, for each
// algorithm that it looks for while it boots, and each run of a program costs an emulated
// guest some 50 ms. Init makes the link when the guest is up.
const modprobe = "modprobe"

// addBusybox adds busybox and a link for each applet. The links are in the archive
// because that is faster than running `busybox --install` in an emulated guest.
func (b Builder) addBusybox(ctx context.Context, t *tree, inputs *artifact.Inputs) error {
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
	list, err := exec.CommandContext(ctx, bin, "--list").Output()
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return invalid("list the applets of "+bin, err)
	}
	if err := t.host("bin/busybox", bin, 0o755); err != nil {
		return err
	}
	for _, applet := range bytes.Fields(list) {
		name := string(applet)
		if name == "busybox" || name == modprobe || strings.ContainsRune(name, '/') {
			continue
		}
		if err := t.link("bin/"+name, "busybox"); err != nil {
			return err
		}
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
	return interpreter(f) == "" && (f.Type == elf.ET_EXEC || f.Type == elf.ET_DYN), nil
}
