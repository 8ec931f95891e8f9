package qmptest

import (
	"encoding/json"
	"slices"
)

// Handler answers a command. What it returns is the reply's "return" member, nil is
// {}; a json.RawMessage goes out as it is. An *errors.QMPError, such as [Error] makes,
// gives the reply's class and description, any other error is a GenericError.
//
// Handlers of one connection run one after another, as QEMU executes commands, and
// delay those behind them; handlers of several connections, and of commands that were
// sent out of band, run at once.
type Handler func(Request) (any, error)

// Handle makes fn answer command, instead of what is built in; nil takes it back. It
// may then also be executed out of band. qmp_capabilities stays as it is.
func (s *Server) Handle(command string, fn Handler) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if fn == nil {
		delete(s.handlers, command)
		return
	}
	s.handlers[command] = fn
}

type noReply struct{}

// NoReply is the result of a handler whose command is not answered, such as a guest
// agent's guest-shutdown. QEMU has none; for a reply that is missing see [Silent].
func NoReply() any { return noReply{} }

// execute runs the handler of a command.
func (s *Server) execute(r Request) (any, error) {
	s.mu.Lock()
	fn := s.handlers[r.Command]
	s.mu.Unlock()
	if fn != nil {
		return fn(r)
	}
	table := monitorCommands
	if s.opts.agent {
		table = agentCommands
	}
	do, ok := table(r.Command)
	switch {
	case !ok:
		return nil, Error("CommandNotFound", "The command "+r.Command+" has not been found")
	case r.OOB && r.Command != "yank" && r.Command != "query-yank":
		return nil, generic("The command %s does not support OOB", r.Command)
	}
	return do(s, r)
}

// negotiate is qmp_capabilities.
func (l *link) negotiate(r Request) (any, error) {
	if l.agreed.Load() {
		return nil, Error("CommandNotFound", "Capabilities negotiation is already complete, command ignored")
	}
	var args struct{ Enable []string }
	if err := r.Decode(&args); err != nil {
		return nil, generic("Invalid parameter type for 'enable', expected: array")
	}
	for _, name := range args.Enable {
		if !slices.Contains(l.server.opts.capabilities, name) {
			return nil, generic("Capability %s not available", name)
		}
	}
	l.oob.Store(slices.Contains(args.Enable, "oob"))
	l.agreed.Store(true)
	return nil, nil
}

// commandNames answers query-commands.
func (s *Server) commandNames(builtIn []string) []map[string]string {
	s.mu.Lock()
	names := slices.Clone(builtIn)
	for name := range s.handlers {
		names = append(names, name)
	}
	s.mu.Unlock()
	slices.Sort(names)
	var all []map[string]string
	for _, name := range slices.Compact(names) {
		all = append(all, map[string]string{"name": name})
	}
	return all
}

// text returns the argument called name, which the command can't do without.
func text(r Request, name string) (string, error) {
	var args map[string]json.RawMessage
	if err := r.Decode(&args); err != nil {
		return "", err
	}
	raw, ok := args[name]
	if !ok {
		return "", generic("Parameter '%s' is missing", name)
	}
	var v string
	if json.Unmarshal(raw, &v) != nil {
		return "", generic("Invalid parameter type for '%s', expected: string", name)
	}
	return v, nil
}
