package process

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/internal/guestview"
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

// servedOf returns the display that a configuration asks for, whose socket is in dir. With a
// problem it has no password, and lets in nobody.
func servedOf(d vm.Display, dir string) (served, *errors.Problem) {
	s := served{}
	if d.Type != "" && d.Type != vm.DisplayNone {
		s.kind, s.socket = d.Type, socketPath(dir, d.Type)
	}
	password, bad := guestview.DisplayPassword(d)
	s.password = password
	return s, bad
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
