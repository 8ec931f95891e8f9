package process

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/maqet/maqet/errors"
)

// virtiofsd is the program that serves virtiofs shares. There are two: the one that QEMU
// had until 7.2, in C, and its successor in Rust, with other options.
type virtiofsd struct {
	path     string
	rust     bool
	readOnly bool  // it can refuse to write by itself
	problem  error // why there is none
}

// refuses returns why it can't serve a share.
func (d virtiofsd) refuses(writable bool) error {
	switch {
	case d.problem != nil:
		return d.problem
	case d.path == "":
		return errors.New("virtiofsd was not found on PATH, nor in " + virtiofsdFolders[0] + " or " + virtiofsdFolders[1])
	case !d.rust && os.Geteuid() != 0:
		return errors.New(d.path + " can be used by root only")
	case d.rust && !writable && !d.readOnly:
		return errors.New(d.path + " is too old to share a folder read-only: it has no --readonly")
	}
	return nil
}

// plan says how to share a folder.
//
// The one in C can't refuse to write by itself, so it gets a folder that can't be written:
// not by a path but by a descriptor, see openShare. It confines itself to it by chroot, not
// by its default, a mount namespace of its own, which could not hold that folder. The one in
// Rust resolves paths, and confines itself in a namespace if it is root's.
func (d virtiofsd) plan(dir string, writable bool) helperPlan {
	socket := "--fd=" + strconv.Itoa(helperFD)
	if !d.rust {
		return helperPlan{
			listens: true,
			args: []string{d.path, socket, "-f", "-o", "source=/proc/self/fd/" + strconv.Itoa(helperFD+1) + "/.",
				"-o", "sandbox=chroot", "-o", "log_level=warn"},
			open: func(context.Context) ([]*os.File, error) {
				file, err := openShare(dir, writable)
				if err != nil {
					return nil, err
				}
				return []*os.File{file}, nil
			},
		}
	}
	args := []string{d.path, socket, "--shared-dir=" + dir, "--log-level=warn"}
	if !writable {
		args = append(args, "--readonly")
	}
	if os.Geteuid() != 0 {
		args = append(args, "--sandbox=none")
	}
	return helperPlan{listens: true, args: args}
}

// openShare opens a folder. A read-only one is a mount of its own that is attached nowhere,
// so that the kernel refuses each write whatever virtiofsd is asked for, and nothing of it
// is left when virtiofsd is gone (open_tree(2), mount_setattr(2), Linux 5.12). File systems
// that are mounted below it come along.
func openShare(dir string, writable bool) (*os.File, error) {
	if writable {
		return os.OpenFile(dir, unix.O_PATH|unix.O_DIRECTORY, 0)
	}
	fd, err := unix.OpenTree(unix.AT_FDCWD, dir, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE)
	if err != nil {
		return nil, &os.PathError{Op: "open_tree", Path: dir, Err: err}
	}
	file := os.NewFile(uintptr(fd), dir)
	err = unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, &unix.MountAttr{
		Attr_set: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOSUID})
	if err != nil {
		return nil, errors.Join(&os.PathError{Op: "mount_setattr", Path: dir, Err: err}, file.Close())
	}
	return file, nil
}

// virtiofsdFolders are where distributions have it, which is not on PATH.
var virtiofsdFolders = []string{"/usr/libexec", "/usr/lib/qemu", "/usr/lib", "/usr/local/libexec"}

// virtiofsdFinder finds it and asks which one it is, once. It is safe for concurrent use.
type virtiofsdFinder struct {
	start func(*exec.Cmd) error // starts what ends with this process
	turn  chan struct{}         // held by who asks
	known map[string]virtiofsd  // by path, size and time of change; for who has the turn
}

func newVirtiofsdFinder(start func(*exec.Cmd) error) *virtiofsdFinder {
	return &virtiofsdFinder{start: start, turn: make(chan struct{}, 1), known: map[string]virtiofsd{}}
}

func (f *virtiofsdFinder) find(ctx context.Context) virtiofsd {
	path, info := lookVirtiofsd()
	if path == "" {
		return virtiofsd{}
	}
	key := path + info.ModTime().String() + strconv.FormatInt(info.Size(), 10)
	select {
	case f.turn <- struct{}{}:
		defer func() { <-f.turn }()
	case <-ctx.Done():
		return virtiofsd{problem: context.Cause(ctx)}
	}
	d, ok := f.known[key]
	if !ok {
		if d = f.ask(ctx, path); ctx.Err() != nil {
			return d
		}
		f.known[key] = d
	}
	return d
}

func lookVirtiofsd() (string, os.FileInfo) {
	candidates := []string{}
	if path, err := exec.LookPath("virtiofsd"); err == nil {
		candidates = append(candidates, path)
	}
	for _, dir := range virtiofsdFolders {
		candidates = append(candidates, filepath.Join(dir, "virtiofsd"))
	}
	for _, path := range candidates {
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			if path, err = filepath.Abs(path); err == nil {
				return path, info
			}
		}
	}
	return "", nil
}

// helpTime bounds asking for a program's options, which takes milliseconds.
const helpTime = 10 * time.Second

// ask tells by its options which one it is. What it prints them to, and its exit status,
// differ.
func (f *virtiofsdFinder) ask(ctx context.Context, path string) virtiofsd {
	ctx, cancel := context.WithTimeout(ctx, helpTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, "--help")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
	cmd.WaitDelay = 50 * time.Millisecond
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := f.start(cmd)
	if err == nil {
		err = cmd.Wait()
	}
	d := virtiofsd{path: path, rust: bytes.Contains(out.Bytes(), []byte("--shared-dir")), readOnly: bytes.Contains(out.Bytes(), []byte("--readonly"))}
	if !d.rust && !bytes.Contains(out.Bytes(), []byte("-o source=")) {
		d.problem = errors.Join(errors.New(path+" is no virtiofsd that is known: it has neither --shared-dir nor -o source"), err)
	}
	return d
}
