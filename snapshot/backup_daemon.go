package snapshot

import (
	"bytes"
	"cmp"
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/qmp"
	"github.com/maqet/maqet/qmp/qapi"
	"github.com/maqet/maqet/storage"
)

// quitLimit is how long a storage daemon may take to close its images.
const quitLimit = 30 * time.Second

// storageDaemon is a qemu-storage-daemon: QEMU's block layer, with a control channel and
// without a guest (qemu-storage-daemon(1)).
type storageDaemon struct {
	cmd    *exec.Cmd
	client *qmp.Client
	stderr bytes.Buffer  // to be read after done
	done   chan struct{} // closed when it has ended
	exit   error         // after done
}

// daemon opens the disks of a VM that is not live, with their bitmaps.
func (op *operation) daemon(ctx context.Context, disks []sourceDisk) (_ *backupSource, err error) {
	chains := make([][]storage.Image, len(disks))
	for i, d := range disks {
		chains[i], err = op.keeper.images.Usable(ctx, d.Path, d.Format, true, keysOf(op.inst, d.Name)...)
		if d.Owned && errors.Is(err, errors.ErrImageNotFound) {
			return nil, &BlockedError{Op: op.what, VM: op.inst.Name, Blockers: []Blocker{{Device: d.Name,
				Reason: "has no image yet", Fix: "start the VM once: then it is made"}}}
		}
		if err != nil {
			return nil, err
		}
	}
	daemon, err := startDaemon(ctx)
	if err != nil {
		return nil, err
	}
	s := &backupSource{conn: daemon.client, disks: disks, close: daemon.quit}
	for i, d := range disks {
		if err := daemon.open(ctx, d.Name, chains[i], keysOf(op.inst, d.Name)); err != nil {
			return nil, errors.Join(errors.Wrap(errors.ErrStorage, "open disk "+d.Name, op.inst.Name, err), daemon.quit())
		}
	}
	return s, nil
}

// open opens a disk's image as the node with its name, with those below it. The daemon reads the
// file with the key itself.
func (d *storageDaemon) open(ctx context.Context, disk string, chain []storage.Image, keys []storage.Secret) error {
	keyID := disk + "-key"
	if len(keys) > 0 {
		file, err := filepath.Abs(keys[0].File)
		if err != nil {
			return err
		}
		err = qapi.ObjectAdd(ctx, d.client, qapi.ObjectOptions{QOMType: "secret", ID: keyID,
			Props: map[string]any{"format": "raw", "file": file}})
		if err != nil {
			return err
		}
	}
	var node *qapi.BlockdevOptions
	for _, img := range slices.Backward(chain) {
		file := qapi.BlockdevOptions{Driver: "file", Filename: img.Path}
		if img.Device {
			file.Driver = "host_device"
		}
		over := qapi.BlockdevOptions{Driver: qapi.BlockdevDriver(img.Format), ReadOnly: true, File: &qapi.BlockdevRef{Options: &file}}
		if img.Encrypted {
			over.Props = map[string]any{"encrypt": map[string]any{"format": "luks", "key-secret": keyID}}
		}
		if node != nil {
			over.Backing = &qapi.BlockdevRef{Options: node}
		}
		node = &over
	}
	node.NodeName, node.ReadOnly = disk, false
	return qapi.BlockdevAdd(ctx, d.client, *node)
}

func startDaemon(ctx context.Context) (*storageDaemon, error) {
	name := cmp.Or(os.Getenv("MAQET_QEMU_STORAGE_DAEMON"), "qemu-storage-daemon")
	path, err := exec.LookPath(name)
	if err != nil {
		return nil, &errors.Error{Kind: errors.ErrQEMUNotFound, Op: "find qemu-storage-daemon", Err: err,
			Hint: "install it (Debian's qemu-system-common has it), or set MAQET_QEMU_STORAGE_DAEMON to its path; a VM that runs can be backed up without"}
	}
	ours, theirs, err := socketPair()
	if err != nil {
		return nil, err
	}
	d := &storageDaemon{client: qmp.NewClient(), done: make(chan struct{})}
	d.cmd = exec.Command(path, "--chardev", "socket,id=qmp,fd=3", "--monitor", "chardev=qmp")
	d.cmd.ExtraFiles, d.cmd.Stderr = []*os.File{theirs}, &d.stderr
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
	err = d.start()
	_ = theirs.Close() // a duplicate of it is the daemon's
	if err != nil {
		return nil, errors.Join(err, ours.Close())
	}
	if err := d.client.Connect(ctx, ours); err != nil {
		return nil, errors.Join(d.explain(err), d.quit())
	}
	return d, nil
}

// start starts the program. The thread that does so lives as long as the program: its end is
// what the kernel takes for that of the parent (prctl(2), PR_SET_PDEATHSIG).
func (d *storageDaemon) start() error {
	started := make(chan error, 1)
	go func() { // ends with the program, which quit ends
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(d.done)
		err := d.cmd.Start()
		started <- err
		if err == nil {
			d.exit = d.cmd.Wait()
		}
	}()
	return <-started
}

// quit has the daemon close the images, in which it stores the bitmaps, and end.
func (d *storageDaemon) quit() error {
	ctx, cancel := context.WithTimeout(context.Background(), quitLimit) // whatever has become of the operation
	defer cancel()
	failed := qapi.Quit(ctx, d.client)
	if failed != nil { // it was never reached, or not any more: by a signal it closes the images as well
		_ = d.cmd.Process.Signal(syscall.SIGTERM) // which fails if it has ended
	}
	select {
	case <-d.done:
	case <-ctx.Done():
		_ = d.cmd.Process.Kill()
		<-d.done
	}
	err := errors.Join(d.client.Close())
	if d.exit != nil {
		err = errors.Join(d.explain(d.exit), failed, err)
	}
	return err
}

// explain adds what the daemon has complained about, once it has ended.
func (d *storageDaemon) explain(err error) error {
	text := ""
	select {
	case <-d.done:
		text = strings.TrimSpace(d.stderr.String())
	default:
	}
	return &errors.Error{Kind: errors.ErrBackend, Op: "run qemu-storage-daemon", Msg: text, Err: err}
}

// socketPair returns the two ends of a connection.
func socketPair() (ours net.Conn, theirs *os.File, err error) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	file, theirs := os.NewFile(uintptr(fds[0]), "control"), os.NewFile(uintptr(fds[1]), "control")
	if ours, err = net.FileConn(file); err != nil { // of a duplicate
		err = errors.Join(err, theirs.Close())
	}
	return ours, theirs, errors.Join(err, file.Close())
}
