package wire

import (
	"fmt"
	"io/fs"
	"strconv"
	"syscall"
	"time"
)

// operation is what a stream is opened for.
type operation uint8

const (
	opPing operation = iota + 1
	opExec
	opReadFile
	opWriteFile
	opPutTree
	opGetTree
	opStat
	opReseed
	opSetTime
	opDial
	opIndividualize
)

var operationNames = [...]string{
	opPing: "ping", opExec: "exec", opReadFile: "read file", opWriteFile: "write file", opPutTree: "put tree",
	opGetTree: "get tree", opStat: "stat", opReseed: "reseed", opSetTime: "set time",
	opDial: "dial", opIndividualize: "individualize",
}

func (o operation) String() string {
	if int(o) < len(operationNames) && operationNames[o] != "" {
		return operationNames[o]
	}
	return "operation " + strconv.Itoa(int(o))
}

func tooLong(op operation, n int) error {
	return fmt.Errorf("wire: %s: the request has %d bytes, at most %d are possible: %w", op, n, MaxPayload, syscall.E2BIG)
}

// Command is a program to run, as it reaches the guest.
type Command struct {
	Args []string // Args[0] is the program: a path, or a name to look up in PATH
	Env  []string // "KEY=value"; added to the guest's default environment
	Dir  string   // working directory; "" is "/"

	Stdin, Stdout, Stderr bool // connect it to the stream; else it is /dev/null
	Merge                 bool // standard error goes where standard output goes
}

const (
	flagStdin = 1 << iota
	flagStdout
	flagStderr
	flagMerge
)

func (c *Command) encode() []byte {
	var flags byte
	for i, on := range []bool{c.Stdin, c.Stdout, c.Stderr, c.Merge} {
		if on {
			flags |= 1 << i
		}
	}
	e := &encoder{}
	e.byte(flags)
	e.strings(c.Args)
	e.strings(c.Env)
	e.string(c.Dir)
	return e.b
}

func decodeCommand(d *decoder) Command {
	flags := d.byte()
	return Command{
		Stdin: flags&flagStdin != 0, Stdout: flags&flagStdout != 0,
		Stderr: flags&flagStderr != 0, Merge: flags&flagMerge != 0,
		Args: d.strings(), Env: d.strings(), Dir: d.string(),
	}
}

// ExecResult is how a program ended.
type ExecResult struct {
	ExitCode int // exit status; -1 when a signal ended it
	Signal   int // the signal that ended it; 0 when it exited
}

func (r ExecResult) encode() []byte {
	e := &encoder{}
	e.int(int64(r.ExitCode))
	e.int(int64(r.Signal))
	return e.b
}

// FileInfo describes a file in the guest.
type FileInfo struct {
	Size    int64       // bytes
	Mode    fs.FileMode // type and permissions
	ModTime time.Time
	Link    string // a symbolic link's target
}

func (i FileInfo) encode() []byte {
	e := &encoder{}
	e.int(i.Size)
	e.uint(uint64(i.Mode))
	e.time(i.ModTime)
	e.string(i.Link)
	return e.b
}

func decodeFileInfo(b []byte) (FileInfo, error) {
	d := &decoder{b: b}
	i := FileInfo{Size: d.int(), Mode: fs.FileMode(d.uint()), ModTime: d.time(), Link: d.string()}
	return i, d.err
}
