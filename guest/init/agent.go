package main

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"sync"
	"time"

	"github.com/maqet/maqet/guest/wire"
)

// agent speaks the QEMU guest agent's protocol (QEMU manual, "QEMU Guest Agent
// Protocol Reference"): one JSON object a request, answered in order.
type agent struct {
	reaper *reaper
	power  *power
	disks  freezer

	mu       sync.Mutex
	commands map[int]*captured // by process id, until the status was fetched
	files    map[int64]*os.File
	handles  int64
}

func newAgent(r *reaper, p *power) *agent {
	return &agent{reaper: r, power: p, commands: map[int]*captured{}, files: map[int64]*os.File{}, handles: 1000}
}

// agentRequest is what a host sends.
type agentRequest struct {
	Execute   string          `json:"execute"`
	Arguments json.RawMessage `json:"arguments"`
	ID        json.RawMessage `json:"id"`
}

// agentReply is what it gets.
type agentReply struct {
	Return any             `json:"return,omitempty"`
	Error  *agentError     `json:"error,omitempty"`
	ID     json.RawMessage `json:"id,omitempty"`
}

// agentError is a failure in the protocol's shape.
type agentError struct {
	Class string `json:"class"`
	Desc  string `json:"desc"`
}

func (e *agentError) Error() string { return e.Desc }

func errNotFound(command string) error {
	return &agentError{Class: "CommandNotFound", Desc: "The command " + command + " has not been found"}
}

func errGeneric(desc string) error { return &agentError{Class: "GenericError", Desc: desc} }

// empty is the reply of commands that return nothing.
type empty struct{}

// noReply is the result of commands that succeed without one.
var noReply any = new(struct{ _ byte })

// sentinel resets the parser on either side; see guest-sync-delimited.
const sentinel = 0xFF

// serve answers requests until the port fails. Hosts may come and go.
func (a *agent) serve(conn io.ReadWriter) error {
	var split splitter
	buf := make([]byte, 64<<10)
	for {
		n, err := conn.Read(buf)
		if errors.Is(err, wire.ErrPeerGone) {
			split.reset()
			continue
		}
		if err != nil {
			return err
		}
		for rest := buf[:n]; len(rest) > 0; {
			var message []byte
			var bad error
			message, rest, bad = split.next(rest)
			if message == nil && bad == nil {
				continue
			}
			if err := a.answer(conn, message, bad); err != nil {
				return err
			}
		}
	}
}

// answer runs one request and writes its reply.
func (a *agent) answer(w io.Writer, message []byte, bad error) error {
	var req agentRequest
	if bad == nil {
		if err := json.Unmarshal(message, &req); err != nil {
			bad = errGeneric("JSON parse error, " + err.Error())
		}
	}
	reply := agentReply{ID: req.ID}
	if bad == nil {
		reply.Return, bad = a.execute(req)
	}
	if bad != nil {
		reply.Return, reply.Error = nil, asAgentError(bad)
	} else if reply.Return == noReply {
		return nil
	}
	var out []byte
	if req.Execute == "guest-sync-delimited" {
		out = append(out, sentinel)
	}
	text, err := json.Marshal(reply)
	if err != nil {
		return err
	}
	_, err = w.Write(append(append(out, text...), '\n'))
	return err
}

func asAgentError(err error) *agentError {
	var e *agentError
	if errors.As(err, &e) {
		return e
	}
	return &agentError{Class: "GenericError", Desc: err.Error()}
}

// execute runs one command.
func (a *agent) execute(req agentRequest) (any, error) {
	if req.Execute == "" {
		return nil, errGeneric("QMP input lacks member 'execute'")
	}
	for _, c := range agentCommands {
		if c.name == req.Execute {
			return c.run(a, req.Arguments)
		}
	}
	return nil, errNotFound(req.Execute)
}

// arguments decodes a command's arguments; none at all are like {}.
func arguments[T any](raw json.RawMessage) (args T, err error) {
	if len(raw) == 0 {
		return args, nil
	}
	if err := json.Unmarshal(raw, &args); err != nil {
		return args, errGeneric("Invalid arguments: " + err.Error())
	}
	return args, nil
}

// agentCommand is one command of the protocol.
type agentCommand struct {
	name string
	run  func(a *agent, args json.RawMessage) (any, error)
}

// command adapts a typed function.
func command[T any](name string, f func(a *agent, args T) (any, error)) agentCommand {
	return agentCommand{name: name, run: func(a *agent, raw json.RawMessage) (any, error) {
		args, err := arguments[T](raw)
		if err != nil {
			return nil, err
		}
		return f(a, args)
	}}
}

// agentCommands are all commands. It is filled by a function since guest-info
// lists it.
var agentCommands = allCommands()

func allCommands() []agentCommand {
	return []agentCommand{
		command("guest-ping", func(*agent, empty) (any, error) { return empty{}, nil }),
		command("guest-sync", (*agent).sync),
		command("guest-sync-delimited", (*agent).sync),
		command("guest-info", (*agent).info),
		command("guest-exec", (*agent).exec),
		command("guest-exec-status", (*agent).execStatus),
		command("guest-file-open", (*agent).fileOpen),
		command("guest-file-read", (*agent).fileRead),
		command("guest-file-write", (*agent).fileWrite),
		command("guest-file-seek", (*agent).fileSeek),
		command("guest-file-flush", (*agent).fileFlush),
		command("guest-file-close", (*agent).fileClose),
		command("guest-get-time", func(*agent, empty) (any, error) { return time.Now().UnixNano(), nil }),
		command("guest-set-time", (*agent).setTime),
		command("guest-shutdown", (*agent).shutdown),
		command("guest-get-host-name", (*agent).hostName),
		command("guest-get-osinfo", (*agent).osInfo),
		command("guest-network-get-interfaces", (*agent).interfaces),
		command("guest-fsfreeze-status", func(a *agent, _ empty) (any, error) { return a.disks.status() }),
		command("guest-fsfreeze-freeze", func(a *agent, _ empty) (any, error) { return a.disks.freeze() }),
		command("guest-fsfreeze-thaw", func(a *agent, _ empty) (any, error) { return a.disks.thaw() }),
	}
}
