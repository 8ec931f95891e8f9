package main

import (
	"encoding/json"
	"io"
	"os"
	"sync"
	"syscall"
)

// maxCapture is how much output of a command is kept, per stream, in bytes; the
// QEMU guest agent's limit.
const maxCapture = 16 << 20

// captured is a command that the agent started.
type captured struct {
	process  *process
	done     chan struct{} // closed when it has ended and its output is here
	out, err capture
}

// capture keeps the beginning of an output.
type capture struct {
	text      []byte
	truncated bool
}

func (c *capture) Write(p []byte) (int, error) {
	room := min(maxCapture-len(c.text), len(p))
	c.text = append(c.text, p[:room]...)
	c.truncated = c.truncated || room < len(p)
	return len(p), nil
}

type execArgs struct {
	Path    string          `json:"path"`
	Arg     []string        `json:"arg"`
	Env     []string        `json:"env"`
	Input   []byte          `json:"input-data"`
	Capture json.RawMessage `json:"capture-output"`
}

// captureMode translates capture-output: a truth value up to QEMU 8.0, a word
// from 8.1 on.
func captureMode(raw json.RawMessage) (out, err, merge bool, fail error) {
	switch string(raw) {
	case "", "null", "false", `"none"`:
		return false, false, false, nil
	case "true", `"separated"`:
		return true, true, false, nil
	case `"stdout"`:
		return true, false, false, nil
	case `"stderr"`:
		return false, true, false, nil
	case `"merged"`:
		return true, false, true, nil
	}
	return false, false, false, errGeneric("Parameter 'capture-output' has an unknown value")
}

func (a *agent) exec(args execArgs) (any, error) {
	wantOut, wantErr, merge, err := captureMode(args.Capture)
	if err != nil {
		return nil, err
	}
	var std stdio
	in := std.pipeTo(0, len(args.Input) > 0)
	out := std.pipeFrom(1, wantOut)
	errs := std.pipeFrom(2, wantErr && !merge)
	if merge {
		std.child[2] = std.child[1]
	}
	var p *process
	if err = std.err; err == nil {
		p, err = a.reaper.spawn(append([]string{args.Path}, args.Arg...), args.Env, "", std.child)
	}
	std.closeChild()
	if err != nil {
		std.close()
		return nil, errGeneric("Failed to execute child process: " + err.Error())
	}
	c := &captured{process: p, done: make(chan struct{})}
	a.mu.Lock()
	a.commands[p.pid] = c
	a.mu.Unlock()
	go c.run(&std, in, args.Input, out, errs)
	return map[string]int{"pid": p.pid}, nil
}

// run feeds the command and collects what it prints until it ends.
func (c *captured) run(std *stdio, in *os.File, input []byte, out, errs *os.File) {
	var pumps sync.WaitGroup
	if in != nil {
		pumps.Go(func() {
			in.Write(input)
			in.Close()
		})
	}
	for f, to := range map[*os.File]*capture{out: &c.out, errs: &c.err} {
		if f != nil {
			pumps.Go(func() { collect(f, to) })
		}
	}
	<-c.process.done
	std.expire()
	pumps.Wait()
	std.close()
	close(c.done)
}

// collect reads until the end or, once the pipe has expired, until it is empty.
func collect(f *os.File, to *capture) {
	io.Copy(to, f)
	rc, err := f.SyscallConn()
	if err != nil {
		return
	}
	rc.Control(func(fd uintptr) {
		buf := make([]byte, 64<<10)
		for total := 0; total < maxPipe; {
			n, err := syscall.Read(int(fd), buf)
			if n <= 0 || err != nil {
				return
			}
			to.Write(buf[:n])
			total += n
		}
	})
}

type execStatusArgs struct {
	PID int `json:"pid"`
}

type execStatus struct {
	Exited       bool   `json:"exited"`
	ExitCode     *int   `json:"exitcode,omitempty"`
	Signal       *int   `json:"signal,omitempty"`
	OutData      []byte `json:"out-data,omitempty"`
	ErrData      []byte `json:"err-data,omitempty"`
	OutTruncated bool   `json:"out-truncated,omitempty"`
	ErrTruncated bool   `json:"err-truncated,omitempty"`
}

// execStatus reports on a command; once it has ended, only once.
func (a *agent) execStatus(args execStatusArgs) (any, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	c := a.commands[args.PID]
	if c == nil {
		return nil, errGeneric("PID not found")
	}
	select {
	case <-c.done:
	default:
		return execStatus{}, nil
	}
	delete(a.commands, args.PID)
	st := execStatus{
		Exited:  true,
		OutData: c.out.text, OutTruncated: c.out.truncated,
		ErrData: c.err.text, ErrTruncated: c.err.truncated,
	}
	if res := exitOf(c.process.status); res.Signal != 0 {
		st.Signal = &res.Signal
	} else {
		st.ExitCode = &res.ExitCode
	}
	return st, nil
}
