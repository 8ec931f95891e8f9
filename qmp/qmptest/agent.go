package qmptest

import (
	"encoding/json"
)

// NewAgent returns a fake of the guest agent's end of a virtio-serial port: no greeting,
// no events, answers in order. It knows guest-sync, guest-sync-delimited, guest-ping,
// guest-info and guest-shutdown; [Server.Handle] scripts others. What an earlier client
// left in the port is there with
//
//	s.OnConnect(qmptest.Garbage(`turn": {"bytes": 5}}`))
//
// and an agent that does not run with s.OnConnect(qmptest.Silent()).
func NewAgent(opts ...Option) *Server { return newServer(opts, true) }

// agentCommands finds the built-in answer to a command of the guest agent.
func agentCommands(command string) (builtIn, bool) {
	switch command {
	case "guest-sync", "guest-sync-delimited":
		return guestSync, true
	case "guest-ping":
		return func(*Server, Request) (any, error) { return nil, nil }, true
	case "guest-info":
		return guestInfo, true
	case "guest-shutdown":
		return func(*Server, Request) (any, error) { return NoReply(), nil }, true
	}
	return nil, false
}

func guestSync(_ *Server, r Request) (any, error) {
	var args struct{ ID json.RawMessage }
	if err := r.Decode(&args); err != nil {
		return nil, err
	}
	if args.ID == nil {
		return nil, generic("Parameter 'id' is missing")
	}
	return args.ID, nil
}

func guestInfo(s *Server, _ Request) (any, error) {
	type command struct {
		Name            string `json:"name"`
		Enabled         bool   `json:"enabled"`
		SuccessResponse bool   `json:"success-response"`
	}
	var commands []command
	for _, known := range s.commandNames([]string{"guest-info", "guest-ping", "guest-shutdown", "guest-sync", "guest-sync-delimited"}) {
		name := known["name"]
		commands = append(commands, command{Name: name, Enabled: true, SuccessResponse: name != "guest-shutdown"})
	}
	return map[string]any{"version": s.versionText(), "supported_commands": commands}, nil
}
