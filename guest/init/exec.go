package main

import (
	"context"
	"errors"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/maqet/maqet/guest/wire"
)

// maxPipe is the largest a pipe can be without privileges, in bytes: what a
// program wrote before it exited is at most that far behind.
const maxPipe = 1 << 20

// Exec runs a program with its standard files on the stream's pipes.
func (o *operations) Exec(ctx context.Context, cmd wire.Command, stdin *wire.In, stdout, stderr *wire.Out) (wire.ExecResult, error) {
	var std stdio
	defer std.close()
	in := std.pipeTo(0, cmd.Stdin)
	out := std.pipeFrom(1, cmd.Stdout)
	errs := std.pipeFrom(2, cmd.Stderr && !cmd.Merge)
	if cmd.Merge {
		std.child[2] = std.child[1]
	}
	if std.err != nil {
		return wire.ExecResult{}, std.err
	}
	p, err := o.reaper.spawn(cmd.Args, cmd.Env, cmd.Dir, std.child)
	std.closeChild()
	if err != nil {
		return wire.ExecResult{}, err
	}
	defer context.AfterFunc(ctx, p.killGroup)()

	var pumps sync.WaitGroup
	if in != nil {
		pumps.Go(func() {
			stdin.WriteTo(in) // a program need not read it all
			in.Close()
		})
	}
	if out != nil {
		pumps.Go(func() { pump(out, stdout) })
	}
	if errs != nil {
		pumps.Go(func() { pump(errs, stderr) })
	}
	<-p.done
	std.expire()
	pumps.Wait()
	return exitOf(p.status), nil
}

func exitOf(ws syscall.WaitStatus) wire.ExecResult {
	if ws.Signaled() {
		return wire.ExecResult{ExitCode: -1, Signal: int(ws.Signal())}
	}
	return wire.ExecResult{ExitCode: ws.ExitStatus()}
}

// spawn starts a program in a session of its own.
func (r *reaper) spawn(args, extra []string, dir string, files [3]int) (*process, error) {
	if len(args) == 0 || args[0] == "" {
		return nil, &wire.RemoteError{Op: "exec", Errno: syscall.EINVAL, Msg: "no program is given"}
	}
	if dir == "" {
		dir = "/"
	}
	env := mergeEnv(extra)
	path, err := r.lookPath(args[0], env)
	if err != nil {
		return nil, err
	}
	p, err := r.start(path, args, &syscall.ProcAttr{
		Dir:   dir,
		Env:   env,
		Files: []uintptr{uintptr(files[0]), uintptr(files[1]), uintptr(files[2])},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return nil, startError(err, args[0], dir)
	}
	return p, nil
}

// startError tells a folder that can't be entered from a program that can't be
// executed: fork and exec report both alike.
func startError(err error, program, dir string) error {
	fail := &wire.RemoteError{Op: "exec", Path: program, Msg: err.Error()}
	errors.As(err, &fail.Errno)
	if info, statErr := os.Stat(dir); statErr != nil || !info.IsDir() {
		fail.Op, fail.Path = "chdir", dir
	}
	return fail
}

// stdio are the files of a child and the ends that stay here.
type stdio struct {
	child [3]int     // 0 stands for /dev/null until that is opened
	ours  []*os.File // closed by close
	err   error
}

// pipeTo makes a pipe to the child's file fd, or /dev/null.
func (s *stdio) pipeTo(fd int, wanted bool) *os.File { return s.open(fd, wanted, 0, 1) }

// pipeFrom makes a pipe from the child's file fd, or /dev/null.
func (s *stdio) pipeFrom(fd int, wanted bool) *os.File { return s.open(fd, wanted, 1, 0) }

func (s *stdio) open(fd int, wanted bool, childEnd, ourEnd int) *os.File {
	if s.err != nil {
		return nil
	}
	if !wanted {
		s.child[fd], s.err = syscall.Open("/dev/null", syscall.O_RDWR|syscall.O_CLOEXEC, 0)
		return nil
	}
	var ends [2]int
	// Not os.Pipe: only our end may be non-blocking, the child's is shared.
	if s.err = syscall.Pipe2(ends[:], syscall.O_CLOEXEC); s.err != nil {
		return nil
	}
	s.child[fd] = ends[childEnd]
	syscall.SetNonblock(ends[ourEnd], true)
	f := os.NewFile(uintptr(ends[ourEnd]), "pipe")
	s.ours = append(s.ours, f)
	return f
}

// closeChild closes the child's ends here.
func (s *stdio) closeChild() {
	for i, fd := range s.child {
		if fd > 0 && (i != 2 || fd != s.child[1]) {
			syscall.Close(fd)
		}
	}
	s.child = [3]int{}
}

func (s *stdio) close() {
	s.closeChild()
	for _, f := range s.ours {
		f.Close()
	}
}

// expire ends waits on our ends: the child is gone, and only what is already
// in the pipes matters. A grandchild may keep the other ends open for ever.
func (s *stdio) expire() {
	for _, f := range s.ours {
		f.SetDeadline(time.Unix(1, 0))
	}
}

// pump moves a child's output to the stream as it comes, until its end or, once
// the pipe has expired, until it is empty.
func pump(f *os.File, out *wire.Out) {
	rc, err := f.SyscallConn()
	if err != nil {
		return
	}
	for {
		var n int
		var readErr error
		waitErr := rc.Read(func(fd uintptr) bool {
			n, readErr = readSome(int(fd), out)
			return readErr != syscall.EAGAIN
		})
		if waitErr != nil {
			rc.Control(func(fd uintptr) { drain(int(fd), out) })
			return
		}
		if n <= 0 || readErr != nil || out.Flush() != nil {
			return
		}
	}
}

// drain sends what is left in a pipe.
func drain(fd int, out *wire.Out) {
	for total := 0; total < maxPipe; {
		n, err := readSome(fd, out)
		if n <= 0 || err != nil || out.Flush() != nil {
			return
		}
		total += n
	}
}

// readSome reads into the next frame; a frame is only held while it has content.
func readSome(fd int, out *wire.Out) (int, error) {
	space, err := out.Space()
	if err != nil {
		return 0, err
	}
	for {
		n, err := syscall.Read(fd, space)
		if err == syscall.EINTR {
			continue
		}
		if n <= 0 {
			out.Flush() // nothing to send: only gives the frame back
			return n, err
		}
		out.Extend(n)
		return n, nil
	}
}

const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

func defaultEnv() []string { return []string{"PATH=" + defaultPath, "HOME=/root", "TERM=linux"} }

// mergeEnv adds variables to the default environment; the last of a name wins.
func mergeEnv(extra []string) []string {
	env := defaultEnv()
next:
	for _, kv := range extra {
		name, _, ok := strings.Cut(kv, "=")
		if !ok {
			continue
		}
		for i, old := range env {
			if strings.HasPrefix(old, name+"=") {
				env[i] = kv
				continue next
			}
		}
		env = append(env, kv)
	}
	return env
}
