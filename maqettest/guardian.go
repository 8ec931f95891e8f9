package maqettest

import (
	"os"
	"os/exec"
	"syscall"

	"github.com/maqet/maqet/errors"
)

// guardian is a process that removes a folder when this one has ended, however it ends. It is
// a shell that reads from a pipe: the kernel closes the other end, which only this process has,
// even if it is killed.
type guardian struct {
	pipe *os.File
	cmd  *exec.Cmd
}

// guardScript works in the folder, which keeps it from being mistaken for another that has taken
// its path: nothing is removed unless the path, $1, still leads here, and then by the folder,
// not by the path. It tries again for what a dying QEMU has still written.
const guardScript = `read -r _
for try in 1 2 3 4 5; do
	[ "$1" -ef . ] || exit 0
	rm -rf -- ./* ./.[!.]* ./..?*
	rmdir -- "$1" && exit 0
	sleep 1
done`

// guard begins to watch over dir, the absolute path of a folder that this process has made. The
// guardian has a session of its own, so that a terminal's Ctrl-C does not end it, and none of
// this process's output, whose readers would wait for its end.
func guard(dir string) (*guardian, error) {
	stdin, pipe, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command("/bin/sh", "-c", guardScript, "maqettest-guardian", dir)
	cmd.Dir, cmd.Stdin, cmd.Env = dir, stdin, []string{"PATH=" + os.Getenv("PATH")}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = errors.Join(cmd.Start(), stdin.Close())
	if err != nil {
		return nil, errors.Join(err, pipe.Close())
	}
	return &guardian{pipe: pipe, cmd: cmd}, nil
}

// end has the guardian end, and waits for that. A folder that is still there it removes.
func (g *guardian) end() {
	if g == nil {
		return
	}
	_ = g.pipe.Close()
	_ = g.cmd.Wait() // how it ends says nothing that the folder does not
}
