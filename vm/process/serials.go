package process

import (
	"context"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/internal/guestview"
	"github.com/maqet/maqet/qmp"
	"github.com/maqet/maqet/vm"
)

// serials adds the serial ports besides the console.
func (b *builder) serials() {
	isa := 0
	for i, s := range b.spec.Config.Serials {
		field, name := fmt.Sprintf("serials[%d]", i), s.NameAt(i)
		b.notReserved(field+".name", name)
		if s.Kind() == vm.SerialVirtio && b.unplugged(name) {
			continue
		}
		b.serialTarget(i, s)
		device := props{"id": name, "chardev": name}
		switch {
		case s.Kind() == vm.SerialVirtio:
			b.portNotTaken(field, name)
			device["driver"], device["bus"], device["name"] = "virtserialport", b.virtioSerialBus(field), name
		case b.host.isa():
			isa++ // ttyS0 is the console, also where that is disabled
			device["driver"], device["index"] = "isa-serial", isa
		default:
			device["driver"] = "pci-serial"
		}
		b.json("device", name, field, device)
	}
}

// portNotTaken refuses the names that ports of this package's own have in the guest.
func (b *builder) portNotTaken(field, name string) {
	if !b.spec.Config.Agent.Disabled && (name == guestview.AgentPort || strings.HasPrefix(name, guestview.OwnPorts)) {
		b.problem(field+".name", name, "is the name of a port by which the guest itself is reached", "use another, or disable agent")
	}
}

// virtioSerialBus returns the bus of the virtio ports. The first call adds its controller.
func (b *builder) virtioSerialBus(field string) string {
	if !slices.ContainsFunc(b.args, func(a argument) bool { return a.option == "device" && a.id == virtioSerial }) {
		b.json("device", virtioSerial, field, props{"driver": b.virtio("serial"), "id": virtioSerial})
	}
	return virtioSerial + ".0"
}

// serialTarget adds the character device behind a port.
func (b *builder) serialTarget(i int, s vm.Serial) {
	field, name := fmt.Sprintf("serials[%d]", i), s.NameAt(i)
	switch {
	case s.Socket == vm.SerialSocketAuto:
		b.listening(name, serialSocket(i), field)
	case s.Socket != "":
		path := b.absolute(field+".socket", s.Socket)
		if err := writableFolder(path); err != nil {
			b.problem(field+".socket", s.Socket, "can't be made: "+err.Error(), "give a path in a folder that exists and can be written to")
		}
		b.takesSocket(field+".socket", path, "remove what is there, or choose another path")
		b.add(keyed("chardev", name, field, "", "socket", "id", name, "path", path, "server", "on", "wait", "off"))
	case s.File != "":
		path := b.absolute(field+".file", s.File)
		if err := appendable(path); err != nil {
			b.problem(field+".file", s.File, "can't be used: "+err.Error(), "give the path of a regular file, or of one to make in a folder that exists")
		}
		b.outputs = append(b.outputs, path)
		b.add(keyed("chardev", name, field, "", "file", "id", name, "path", path, "append", "on"))
	case s.PTY:
		b.add(keyed("chardev", name, field, "", "pty", "id", name))
	default:
		b.add(keyed("chardev", name, field, "", "null", "id", name))
	}
}

// absolute returns a path that means the same wherever QEMU runs. One that is absolute stays
// as it is: what ".." means is for the file system to say.
func (b *builder) absolute(field, path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	abs, err := filepath.Abs(path)
	if err != nil { // the working folder is gone
		b.problem(field, path, err.Error(), "give an absolute path")
	}
	return abs
}

// takesSocket refuses a path that QEMU can't listen on, or where it would remove something.
func (b *builder) takesSocket(field, path, fix string) {
	if len(path) > maxSocketPath {
		b.problem(field, path, fmt.Sprintf("has %d bytes, a unix socket's path may have %d", len(path), maxSocketPath), "use a shorter path")
		return
	}
	// Building arguments takes no context, because it waits for nothing: a socket of this
	// host answers at once, or refuses.
	ctx, cancel := context.WithTimeout(context.Background(), socketTime)
	defer cancel()
	if err := (qmp.SerialPort{Socket: path}).Takes(ctx); err != nil {
		b.problem(field, path, "can't be used: "+err.Error(), fix)
	}
}

// appendable says why a file can't be written at its end by who opens it as openOutput
// does, nil if it can.
func appendable(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return writableFolder(path)
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return errors.New("is not a regular file")
	}
	return unix.Access(path, unix.W_OK)
}

// writableFolder says why nothing can be made at path, nil if it can.
func writableFolder(path string) error {
	dir := filepath.Dir(path)
	if err := unix.Access(dir, unix.W_OK|unix.X_OK); err != nil {
		return &os.PathError{Op: "write to", Path: dir, Err: err}
	}
	return nil
}

// makeOutputs makes the files that do not exist of those that QEMU appends to: it would let
// others read them. It returns those that it made, also with an error.
func makeOutputs(paths []string) (made []string, err error) {
	for _, path := range paths {
		fresh, err := makeOutput(path)
		if fresh {
			made = append(made, path)
		}
		if err != nil {
			return made, err
		}
	}
	return made, nil
}

func makeOutput(path string) (fresh bool, err error) {
	const flags = os.O_WRONLY | os.O_APPEND | unix.O_NOFOLLOW | unix.O_NONBLOCK
	f, err := os.OpenFile(path, flags|os.O_CREATE|os.O_EXCL, 0o600)
	if fresh = err == nil; errors.Is(err, fs.ErrExist) {
		f, err = os.OpenFile(path, flags, 0)
	}
	if err != nil {
		return fresh, err
	}
	return fresh, f.Close()
}

func removeOutputs(paths []string) error {
	var errs []error
	for _, path := range paths {
		errs = append(errs, ignore(os.Remove(path), fs.ErrNotExist))
	}
	return errors.Join(errs...)
}

// serialSocket is the name of the socket of a port in the VM's own folder. It is short,
// whatever the port's.
func serialSocket(i int) string { return fmt.Sprintf("tty%d", i) }

// ownSockets are those in a VM's own folder that its configuration has besides the
// channels, by the names that users know.
func ownSockets(cfg vm.Config, dir string) map[string]string {
	sockets := map[string]string{}
	for i, s := range cfg.Serials {
		if s.Socket == vm.SerialSocketAuto {
			sockets[s.NameAt(i)] = socketPath(dir, serialSocket(i))
		}
	}
	switch t := cfg.Display.Type; t {
	case vm.DisplayVNC, vm.DisplaySpice:
		sockets[t] = socketPath(dir, t)
	}
	return sockets
}

// nameSockets calls the sockets of serial ports by the ports' names, and adds the display's.
func nameSockets(sockets map[string]string, cfg vm.Config, dir string) {
	for i := range cfg.Serials {
		delete(sockets, serialSocket(i))
	}
	maps.Copy(sockets, ownSockets(cfg, dir))
}

// userSockets are the sockets of ports that QEMU makes at paths of the user's.
func userSockets(cfg vm.Config, unplugged []string) (paths []string) {
	for i, s := range cfg.Serials {
		gone := s.Kind() == vm.SerialVirtio && slices.Contains(unplugged, s.NameAt(i))
		if s.Socket == "" || s.Socket == vm.SerialSocketAuto || gone {
			continue
		}
		if path, err := filepath.Abs(s.Socket); err == nil { // else the start has failed
			paths = append(paths, path)
		}
	}
	return paths
}

// makePrivate lets nobody else connect to a socket that QEMU made by its umask. Others may be
// able to write to the folder: only a socket gets the mode, and nothing that a symbolic
// link leads to. If somebody has taken it away there is nothing to do.
func makePrivate(path string) error {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return ignore(&os.PathError{Op: "open", Path: path, Err: err}, fs.ErrNotExist)
	}
	defer func() { _ = unix.Close(fd) }() // nothing was written
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFSOCK {
		return os.NewSyscallError("fstat", err)
	}
	return os.Chmod(fmt.Sprintf("/proc/self/fd/%d", fd), 0o600)
}

// terminalsOf asks QEMU for the pseudo-terminals of the ports that have one, of which its
// command line tells.
func (g *guest) terminalsOf(ctx context.Context, args []string) (map[string]string, error) {
	const pty = "pty,id="
	if !slices.ContainsFunc(args, func(a string) bool { return strings.HasPrefix(a, pty) }) {
		return nil, nil
	}
	list, err := qmp.Do[[]struct{ Label, Filename string }](ctx, g.control, "query-chardev", nil)
	if err != nil {
		return nil, err
	}
	found := map[string]string{}
	for _, c := range list {
		if path, ok := strings.CutPrefix(c.Filename, "pty:"); ok && slices.Contains(args, pty+c.Label) {
			found[c.Label] = path
		}
	}
	return found, nil
}
