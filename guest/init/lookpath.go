package main

import (
	"io"
	"strings"
	"sync"
	"syscall"

	"github.com/maqet/maqet/guest/wire"
)

const busybox = "/bin/busybox"

// lookPath finds a program: a name with a slash is taken as it is, another is
// looked up in env's PATH. A name that is nowhere may be one of busybox's, which goes
// by its first argument, so that a guest needs no link for each of them.
func (r *reaper) lookPath(name string, env []string) (string, error) {
	if strings.Contains(name, "/") {
		return name, nil
	}
	fail := &wire.RemoteError{Op: "exec", Path: name, Errno: syscall.ENOENT, Msg: "no such program in PATH"}
	for _, kv := range env {
		path, ok := strings.CutPrefix(kv, "PATH=")
		if !ok {
			continue
		}
		for dir := range strings.SplitSeq(path, ":") {
			if dir == "" {
				dir = "."
			}
			switch err := executable(dir + "/" + name); err {
			case nil:
				return dir + "/" + name, nil
			case syscall.EACCES:
				fail.Errno, fail.Msg = syscall.EACCES, "permission denied"
			}
		}
	}
	if fail.Errno == syscall.ENOENT && r.applets.has(r, name) {
		return busybox, nil
	}
	return "", fail
}

func executable(path string) error {
	var st syscall.Stat_t
	if err := syscall.Stat(path, &st); err != nil {
		return err
	}
	if st.Mode&syscall.S_IFMT != syscall.S_IFREG || st.Mode&0o111 == 0 {
		return syscall.EACCES
	}
	return nil
}

// applets are the names that busybox goes by, asked of it when first needed.
type applets struct {
	once  sync.Once
	names string // each between newlines
}

func (a *applets) has(r *reaper, name string) bool {
	if executable(busybox) != nil {
		return false
	}
	a.load(r)
	return strings.Contains(a.names, "\n"+name+"\n")
}

// load asks for the names. It is called before they are needed, too: a guest that was captured
// after that has them in all its forks, where running a program for the first time takes long.
func (a *applets) load(r *reaper) {
	a.once.Do(func() { a.names = "\n" + r.output(busybox, "--list") })
}

// output runs a program and returns what it prints, or "" when it can't be run.
func (r *reaper) output(args ...string) string {
	var std stdio
	defer std.close()
	std.pipeTo(0, false)
	out := std.pipeFrom(1, true)
	std.pipeTo(2, false)
	if std.err != nil {
		return ""
	}
	p, err := r.spawn(args, nil, "", std.child)
	std.closeChild()
	if err != nil {
		return ""
	}
	text, _ := io.ReadAll(out)
	<-p.done
	return string(text)
}
