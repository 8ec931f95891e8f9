package process

import (
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/qmp"
	"github.com/maqet/maqet/vm"
)

// served is a display that clients connect to.
type served struct {
	kind, socket string // both empty: there is none
	password     string // empty: none is needed
}

// display adds the screen and who serves it.
func (b *builder) display() {
	d := b.spec.Config.Display
	b.adapter(d.AdapterOn(b.host.arch, b.host.machine))
	var bad *errors.Problem
	if b.served, bad = servedOf(d, b.files.dir); bad != nil {
		b.problem(bad.Field, bad.Value, bad.Message, bad.Fix)
	}
	// QEMU makes the socket: it takes no descriptor here. The folder keeps others out until
	// it has its mode; see secureDisplay. A client shares the screen with others unless it
	// says otherwise.
	socket := b.served.socket
	switch d.Type {
	case vm.DisplayVNC:
		pairs := []string{"", "unix:" + socket}
		if d.PasswordFile != "" {
			pairs = append(pairs, "password", "on")
		}
		b.add(keyed("vnc", "", "display", pairs...))
	case vm.DisplaySpice:
		if err := b.host.spice; err != nil {
			b.problem("display.type", d.Type, "is not in this QEMU: "+err.Error(),
				"install its part for spice (qemu-system-modules-spice on Debian 13, qemu-ui-spice-core on Fedora), or use vnc")
		}
		pairs := []string{"unix", "on", "addr", socket}
		if d.PasswordFile == "" {
			pairs = append(pairs, "disable-ticketing", "on")
		}
		b.add(keyed("spice", "", "display", pairs...))
	}
}

// adapter adds the graphics card.
func (b *builder) adapter(kind string) {
	if kind == vm.AdapterNone {
		return
	}
	pc := b.host.arch == "x86_64" && !b.host.microvm()
	driver := ""
	switch kind {
	case vm.AdapterStd:
		driver = "VGA"
	case vm.AdapterCirrus:
		driver = "cirrus-vga"
	case vm.AdapterVirtio:
		driver = b.virtio("gpu")
		if pc {
			driver = "virtio-vga"
		}
	case vm.AdapterQXL:
		driver = "qxl-vga"
	case vm.AdapterRAMFB:
		driver = "ramfb"
	}
	fits := true
	switch kind {
	case vm.AdapterStd, vm.AdapterCirrus:
		fits = !b.host.microvm() // they are PCI devices
	case vm.AdapterQXL:
		fits = pc
	case vm.AdapterRAMFB:
		fits = b.host.arch != "riscv64" // whose fw_cfg lacks DMA
	}
	if !fits {
		b.problem("display.adapter", kind, "can't be had on machine "+b.host.machine+" of "+b.host.arch, `use "virtio"`)
	}
	b.json("device", vm.DeviceAdapter, "display.adapter", props{"driver": driver, "id": vm.DeviceAdapter})
}

// maxPasswordFile bounds what is read of a file for its first line.
const maxPasswordFile = 4096

// servedOf returns the display that a configuration asks for, whose socket is in dir. With a
// problem it has no password, and lets in nobody.
func servedOf(d vm.Display, dir string) (served, *errors.Problem) {
	s := served{}
	if d.Type != "" && d.Type != vm.DisplayNone {
		s.kind, s.socket = d.Type, socketPath(dir, d.Type)
	}
	if d.PasswordFile == "" {
		return s, nil
	}
	bad := &errors.Problem{Field: "display.password_file", Value: d.PasswordFile}
	password, err := firstLine(d.PasswordFile)
	if err != nil {
		bad.Message, bad.Fix = "can't be read: "+err.Error(), "give the path of a file with the password in its first line"
		return s, bad
	}
	if refused := qmp.CheckDisplayPassword(d.Type, password); refused != nil {
		bad.Message, bad.Fix = "holds no password: its first line "+refused.Problems[0].Message, refused.Problems[0].Fix
		return s, bad
	}
	s.password = password
	return s, nil
}

func firstLine(path string) (string, error) {
	path, err := filepath.Abs(path)
	if err == nil {
		err = readable(path)
	}
	if err != nil {
		return "", err
	}
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	data, err := io.ReadAll(io.LimitReader(f, maxPasswordFile))
	line, _, _ := strings.Cut(string(data), "\n")
	return strings.TrimSuffix(line, "\r"), errors.Join(err, f.Close())
}

// secureDisplay is for a display that was just made: it lets nobody else connect to its
// socket, and sets the password. Until then QEMU lets in nobody.
func (g *guest) secureDisplay(ctx context.Context) error {
	d := g.display
	if d.socket == "" {
		return nil
	}
	if err := os.Chmod(d.socket, 0o600); err != nil {
		return err
	}
	if d.password != "" {
		if err := qmp.SetDisplayPassword(ctx, g.control, d.kind, d.password); err != nil {
			return err
		}
	}
	g.display = served{}
	return nil
}

// spice asks a binary whether it has spice, which is a module that may not be installed: it
// then can't list spice's options. query-command-line-options does not load modules.
func (p *prober) spice(ctx context.Context, binary string) (missing, err error) {
	limited, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	cmd := exec.CommandContext(limited, binary, "-spice", "help")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
	cmd.WaitDelay = 50 * time.Millisecond // what is no QEMU may have left children behind
	var stdout, stderr limitedBuffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := p.start(cmd); err != nil {
		return nil, errors.Wrap(errors.ErrQEMUNotFound, "run "+binary, "", err)
	}
	_ = cmd.Wait() // its status is 1 whenever it helps
	if limited.Err() != nil {
		return nil, errors.Wrap(errors.ErrQEMUNotFound, "ask "+binary+" for spice", "", context.Cause(limited))
	}
	if len(bytes.TrimSpace(stdout.buf)) > 0 {
		return nil, nil
	}
	return errors.New(strings.TrimSpace(stderr.text())), nil
}
