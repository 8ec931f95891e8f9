package guest_test

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/maqet/maqet/guest/wire"
)

// hostOperations does on this host, in the plainest way, what the init does in a guest.
type hostOperations struct {
	individualize func(wire.Identity) error
}

func (hostOperations) Start(wire.Sync) {}

func (hostOperations) Exec(ctx context.Context, c wire.Command, stdin *wire.In, stdout, stderr *wire.Out) (wire.ExecResult, error) {
	cmd := exec.CommandContext(ctx, c.Args[0], c.Args[1:]...)
	cmd.Env, cmd.Dir = append(os.Environ(), c.Env...), c.Dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	if c.Stdout {
		cmd.Stdout = flusher{stdout}
	}
	if c.Stderr {
		cmd.Stderr = flusher{stderr}
	}
	if c.Stdin {
		in, err := cmd.StdinPipe()
		if err != nil {
			return wire.ExecResult{}, err
		}
		go func() { _, _ = io.Copy(in, stdin); _ = in.Close() }()
	}
	err := cmd.Run()
	if errors.Is(err, exec.ErrNotFound) {
		err = &fs.PathError{Op: "exec", Path: c.Args[0], Err: syscall.ENOENT}
	}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return wire.ExecResult{}, err
	}
	status := cmd.ProcessState.Sys().(syscall.WaitStatus)
	if status.Signaled() {
		return wire.ExecResult{ExitCode: -1, Signal: int(status.Signal())}, nil
	}
	return wire.ExecResult{ExitCode: status.ExitStatus()}, nil
}

type flusher struct{ out *wire.Out }

func (f flusher) Write(p []byte) (int, error) {
	n, err := f.out.Write(p)
	return n, errors.Join(err, f.out.Flush())
}

func (hostOperations) ReadFile(_ context.Context, path string, to *wire.Out) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(to, f)
	return errors.Join(err, to.Flush())
}

func (hostOperations) WriteFile(_ context.Context, path string, mode fs.FileMode, from *wire.In) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, from)
	if info, statErr := f.Stat(); statErr == nil && info.Mode().IsRegular() { // a device is the host's
		err = errors.Join(err, f.Chmod(mode))
	}
	return errors.Join(err, f.Close())
}

func (hostOperations) PutTree(_ context.Context, dir string, from *wire.In) error {
	for {
		e, err := wire.ReceiveEntry(from)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		at := filepath.Join(dir, e.Name)
		switch e.Kind {
		case wire.EntryDir:
			if err = os.MkdirAll(at, e.Mode); err == nil {
				err = os.Chmod(at, e.Mode)
			}
		case wire.EntrySymlink:
			err = os.Symlink(e.Link, at)
		default:
			err = receiveFile(at, e, from)
		}
		if err != nil {
			return err
		}
	}
}

func receiveFile(at string, e wire.Entry, from *wire.In) error {
	f, err := os.OpenFile(at, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, e.Mode)
	if err != nil {
		return err
	}
	err = errors.Join(from.CopyN(f, e.Size), f.Chmod(e.Mode), f.Close())
	return errors.Join(err, os.Chtimes(at, e.ModTime, e.ModTime))
}

func (hostOperations) GetTree(_ context.Context, path string, to *wire.Out) error {
	root, err := filepath.EvalSymlinks(path)
	if err != nil {
		return err
	}
	err = filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, file)
		if err == nil && name == "." && !d.IsDir() {
			name = filepath.Base(root)
		}
		return errors.Join(err, sendEntry(file, name, to))
	})
	return errors.Join(err, wire.SendEnd(to))
}

func sendEntry(file, name string, to *wire.Out) error {
	info, err := os.Lstat(file)
	if err != nil {
		return err
	}
	e := wire.Entry{Kind: wire.EntryDir, Name: name, Mode: info.Mode(), ModTime: info.ModTime()}
	switch {
	case info.IsDir():
		return e.Send(to)
	case info.Mode()&fs.ModeSymlink != 0:
		e.Kind = wire.EntrySymlink
		if e.Link, err = os.Readlink(file); err != nil {
			return err
		}
		return e.Send(to)
	case !info.Mode().IsRegular():
		return nil
	}
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	e.Kind, e.Size = wire.EntryFile, info.Size()
	return errors.Join(e.Send(to), to.CopyN(f, e.Size))
}

func (hostOperations) Stat(path string) (wire.FileInfo, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return wire.FileInfo{}, err
	}
	link, _ := os.Readlink(path)
	return wire.FileInfo{Size: info.Size(), Mode: info.Mode(), ModTime: info.ModTime(), Link: link}, nil
}

func (hostOperations) Reseed([]byte) error     { return nil }
func (hostOperations) SetTime(time.Time) error { return nil }

// Individualize does only what a test says: this host stays who it is.
func (o hostOperations) Individualize(id wire.Identity) error { return o.individualize(id) }

func (hostOperations) Dial(ctx context.Context, address string, connected func() error, from *wire.In, to *wire.Out) error {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	if err := connected(); err != nil {
		return err
	}
	sent := make(chan error, 1)
	go func() {
		_, err := from.WriteTo(conn)
		_ = conn.(*net.TCPConn).CloseWrite() // gone, perhaps
		sent <- err
	}()
	if _, err = to.ReadFrom(conn); err == nil {
		err = to.CloseWrite()
	}
	if err != nil {
		conn.Close()
	}
	return errors.Join(err, <-sent)
}
