package qmptest

import (
	"encoding/json"
	"fmt"
	"os"
	"sync"
)

// machine is what the built-in commands change.
type machine struct {
	mu      sync.Mutex
	paused  bool
	devices map[string]bool
	named   map[string]*os.File // by getfd
	sets    map[int][]*os.File  // by add-fd
	lastFD  int
}

func newMachine() machine {
	return machine{devices: map[string]bool{}, named: map[string]*os.File{}, sets: map[int][]*os.File{}}
}

type builtIn = func(*Server, Request) (any, error)

// monitorNames are the commands that monitorCommands knows.
func monitorNames() []string {
	return []string{
		"add-fd", "closefd", "cont", "device_add", "device_del", "getfd", "qmp_capabilities", "query-commands",
		"query-name", "query-status", "query-version", "query-yank", "quit", "remove-fd", "stop", "system_powerdown",
		"system_reset", "yank",
	}
}

// monitorCommands finds the built-in answer to a command of QEMU. Replies and the order
// of events and replies are those of QEMU 7.2.
func monitorCommands(command string) (builtIn, bool) {
	switch command {
	case "query-status":
		return queryStatus, true
	case "query-version":
		return func(s *Server, _ Request) (any, error) { return s.version(), nil }, true
	case "query-commands":
		return func(s *Server, _ Request) (any, error) { return s.commandNames(monitorNames()), nil }, true
	case "query-name", "yank":
		return func(*Server, Request) (any, error) { return nil, nil }, true
	case "query-yank":
		return func(*Server, Request) (any, error) { return []string{}, nil }, true
	case "stop":
		return func(s *Server, _ Request) (any, error) { return s.setPaused(true, "STOP") }, true
	case "cont":
		return func(s *Server, _ Request) (any, error) { return s.setPaused(false, "RESUME") }, true
	case "quit":
		return quit, true
	case "system_reset":
		return reset, true
	case "system_powerdown":
		return func(s *Server, _ Request) (any, error) { s.Emit("POWERDOWN", nil); return nil, nil }, true
	case "device_add":
		return deviceAdd, true
	case "device_del":
		return deviceDel, true
	case "getfd":
		return getFD, true
	case "closefd":
		return closeFD, true
	case "add-fd":
		return addFD, true
	case "remove-fd":
		return removeFD, true
	}
	return nil, false
}

func queryStatus(s *Server, _ Request) (any, error) {
	s.machine.mu.Lock()
	defer s.machine.mu.Unlock()
	status := "running"
	if s.machine.paused {
		status = "paused"
	}
	return json.RawMessage(fmt.Sprintf(`{"status": %q, "singlestep": false, "running": %t}`, status, !s.machine.paused)), nil
}

func (s *Server) setPaused(paused bool, event string) (any, error) {
	s.machine.mu.Lock()
	changed := s.machine.paused != paused
	s.machine.paused = paused
	s.machine.mu.Unlock()
	if changed {
		s.Emit(event, nil)
	}
	return nil, nil
}

func quit(s *Server, r Request) (any, error) {
	s.Emit("SHUTDOWN", json.RawMessage(`{"guest": false, "reason": "host-qmp-quit"}`))
	r.Then(s.exit)
	return nil, nil
}

func reset(s *Server, _ Request) (any, error) {
	s.Emit("RESET", json.RawMessage(`{"guest": false, "reason": "host-qmp-system-reset"}`))
	return nil, nil
}

func deviceAdd(s *Server, r Request) (any, error) {
	if _, err := text(r, "driver"); err != nil {
		return nil, err
	}
	var args struct{ ID string }
	if err := r.Decode(&args); err != nil {
		return nil, err
	}
	s.machine.mu.Lock()
	defer s.machine.mu.Unlock()
	if s.machine.devices[args.ID] {
		return nil, generic("Duplicate device ID '%s'", args.ID)
	}
	if args.ID != "" {
		s.machine.devices[args.ID] = true
	}
	return nil, nil
}

// deviceDel forgets a device that device_add made. The event follows the reply, as it
// does when a guest lets go of a device.
func deviceDel(s *Server, r Request) (any, error) {
	id, err := text(r, "id")
	if err != nil {
		return nil, err
	}
	s.machine.mu.Lock()
	defer s.machine.mu.Unlock()
	if !s.machine.devices[id] {
		return nil, Error("DeviceNotFound", "Device '"+id+"' not found")
	}
	delete(s.machine.devices, id)
	r.Then(func() {
		s.Emit("DEVICE_DELETED", map[string]string{"device": id, "path": "/machine/peripheral/" + id})
	})
	return nil, nil
}
