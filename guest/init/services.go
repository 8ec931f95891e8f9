package main

import (
	"context"
	"strings"

	"github.com/maqet/maqet/guest/wire"
)

const (
	agentPort        = "org.qemu.guest_agent.0"
	streamPortPrefix = "org.maqet.stream."
)

// services serves the ports of the guest, each once.
type services struct {
	ctx    context.Context
	ops    wire.Operations
	agent  *agent
	served map[string]bool
}

// serveNewPorts starts serving the ports that have appeared. It has one caller
// at a time.
func (s *services) serveNewPorts() {
	ports := findPorts()
	linkPorts(portLinks, ports)
	for name, path := range ports {
		serve := s.servePort(name)
		if serve == nil || s.served[path] {
			continue
		}
		p, err := openPort(path)
		if err != nil {
			say(err.Error())
			continue
		}
		s.served[path] = true
		go serve(p)
	}
}

// servePort returns what serves the port with a name, or nil.
func (s *services) servePort(name string) func(*port) {
	switch {
	case name == agentPort:
		return func(p *port) {
			say("agent: " + s.agent.serve(p).Error())
		}
	case strings.HasPrefix(name, streamPortPrefix):
		return func(p *port) {
			if err := wire.Serve(s.ctx, p, s.ops, features...); err != nil {
				say("stream: " + err.Error())
			}
		}
	}
	return nil
}

// features are the names under which guest-info and a stream's hello list what
// this init can do beyond the guest agent.
var features = []string{"maqet-stream-1", "maqet-individualize-1"}
