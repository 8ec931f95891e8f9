package process

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/vm"
)

// maxSocketPath is the longest path a unix socket can have: sun_path has 108 bytes, one
// for the NUL (unix(7)).
const maxSocketPath = 107

// monitors is how many QMP monitors a guest has. Each takes one client at a time: the
// last one is shared, see control.
const monitors = 4

// virtioSerial is the controller of the virtio ports.
const virtioSerial = "virtio-serial"

// allChannels are the names of all channels that a guest can have.
var allChannels = []string{
	monitorName(0), monitorName(1), monitorName(2), monitorName(3),
	vm.ChannelConsole, vm.ChannelAgent, vm.ChannelStream0, vm.ChannelStream1,
	vm.DisplayVNC, vm.DisplaySpice,
}

// ownIDs are the IDs of what this backend adds to guests that need it, besides channels and
// ports.
var ownIDs = []string{
	virtioSerial, scsiController, sataController, usbController, // what other devices are on
	nodeCode, nodeNVRAM, // the flash memory of a UEFI
	seedID,
	"maqet-vmstate", // the block node of an image that holds the memory of snapshots
}

// Reserved reports whether a device, a character device or a port of this backend's own
// has that ID in its guests: the channels, the controllers of virtio ports, disks and USB
// devices, the hot-plug ports, the seed of cloud-init, and the flash memory of a UEFI. A
// guest whose agent's channel is unplugged can't be reached any more.
func Reserved(id string) bool {
	_, port := portNumber(id)
	return port || slices.Contains(ownIDs, id) || slices.Contains(allChannels, id)
}

// socketNames are the names of all sockets that a VM's folder can have.
func socketNames() []string {
	names := slices.Clone(allChannels)
	for i := range vm.MaxSerials {
		names = append(names, serialSocket(i))
	}
	return names
}

func monitorName(i int) string { return fmt.Sprintf("qmp%d", i) }

// vmDir is the folder of a VM's sockets: short, because the path of a socket is.
func (b *Backend) vmDir(id string) string {
	short := strings.ReplaceAll(id, "-", "")
	return filepath.Join(b.opts.RuntimeDir, short[:min(12, len(short))])
}

func socketPath(dir, channel string) string { return filepath.Join(dir, channel+".sock") }

// lockPath is the lock file that a client of the channel behind the socket holds.
func lockPath(socket string) string { return strings.TrimSuffix(socket, ".sock") + ".lock" }

// checkSocketPaths refuses a folder that is too deep for sockets.
func checkSocketPaths(dir string) error {
	for _, ch := range socketNames() {
		path := socketPath(dir, ch)
		if len(path) > maxSocketPath {
			return &errors.Error{Kind: errors.ErrInvalidConfiguration, Op: "place sockets",
				Msg:  fmt.Sprintf("the path %q has %d bytes, a unix socket's may have %d", path, len(path), maxSocketPath),
				Hint: "use a shorter folder: WithDir, WithRuntimeDir or XDG_RUNTIME_DIR"}
		}
	}
	return nil
}

// listener is a socket that listens before QEMU exists, so that nobody has to wait for
// QEMU to make it. QEMU inherits it.
type listener struct {
	path string
	file *os.File
}

// listen makes the listening sockets of the channels in dir. When it fails nothing is
// left of those that it made; a socket that was there is never replaced.
func listen(dir string, channels []string) ([]listener, error) {
	var out []listener
	for _, ch := range channels {
		l, err := listenOne(socketPath(dir, ch))
		if err != nil {
			err = errors.Join(err, closeListeners(out))
			for _, l := range out {
				err = errors.Join(err, os.Remove(l.path))
			}
			return nil, err
		}
		out = append(out, l)
	}
	return out, nil
}

func listenOne(path string) (listener, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return listener{}, os.NewSyscallError("socket", err)
	}
	l := listener{path: path, file: os.NewFile(uintptr(fd), path)}
	// The mode of the socket becomes that of its file when it is bound: at no moment
	// may others connect.
	if err := unix.Fchmod(fd, 0o600); err != nil {
		return listener{}, errors.Join(os.NewSyscallError("fchmod", err), l.file.Close())
	}
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		return listener{}, errors.Join(&os.PathError{Op: "bind", Path: path, Err: err}, l.file.Close())
	}
	if err := unix.Listen(fd, 4); err != nil {
		return listener{}, errors.Join(&os.PathError{Op: "listen", Path: path, Err: err}, l.file.Close(), os.Remove(path))
	}
	return l, nil
}

func closeListeners(ls []listener) error {
	var errs []error
	for _, l := range ls {
		errs = append(errs, l.file.Close())
	}
	return errors.Join(errs...)
}
