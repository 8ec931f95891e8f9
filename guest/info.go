package guest

import (
	"context"
	"encoding/json"
	"time"

	"github.com/maqet/maqet/errors"
)

// Info is what a guest says about itself.
type Info struct {
	Hostname string
	// OS is as in os-release(5), Kernel as in uname(2).
	OS, OSVersion, OSName string // ID, VERSION_ID, PRETTY_NAME
	Kernel, Machine       string // "6.1.0-18-cloud-amd64", "x86_64"
	Interfaces            []Interface
	// AgentVersion is that of the agent, Commands what it can do.
	AgentVersion string
	Commands     []string
}

// Ping returns when the guest's init or agent has answered.
func (m *Manager) Ping(ctx context.Context, ref string) error {
	return m.do(ctx, "ping VM", ref, func(ctx context.Context, w way) error { return w.ping(ctx) })
}

// SetTime sets the guest's clock, as after a restore from a saved state.
func (m *Manager) SetTime(ctx context.Context, ref string, t time.Time) error {
	return m.do(ctx, "set the clock of VM", ref, func(ctx context.Context, w way) error { return w.setTime(ctx, t) })
}

// Reseed gives the guest's random generator new bytes, so that two guests made from one
// saved state differ. With maqet's own init the generator uses them from then on; a guest
// with the QEMU agent mixes them in, and uses them when it reseeds itself next.
func (m *Manager) Reseed(ctx context.Context, ref string) error {
	return m.do(ctx, "reseed VM", ref, func(ctx context.Context, w way) error { return w.reseed(ctx) })
}

// Agent runs a command of the QEMU guest agent's protocol, which maqet's own init
// answers as well, and returns what it returned. args is nil or marshals to a JSON
// object. A refusal is a *errors.QMPError. See the QEMU Guest Agent Protocol Reference.
func (m *Manager) Agent(ctx context.Context, ref, command string, args any) (json.RawMessage, error) {
	var reply json.RawMessage
	err := m.withAgent(ctx, "agent "+command+" in VM", ref, func(ctx context.Context, c *agentChannel) error {
		return c.call(ctx, command, args, &reply)
	})
	return reply, err
}

// withAgent runs fn with the agent's channel, whatever way the session takes, once the
// guest has answered.
func (m *Manager) withAgent(ctx context.Context, op, ref string, fn func(ctx context.Context, c *agentChannel) error) error {
	c, err := m.begin(ctx, op, ref)
	if err != nil {
		return err
	}
	defer c.end()
	if _, err := m.enter(c); err != nil {
		return c.explain(err)
	}
	l, err := m.linkOf(c)
	if err != nil {
		return c.explain(err)
	}
	return c.explain(fn(c.ctx, l.agent))
}

// Info asks the guest's agent what it is and runs.
func (m *Manager) Info(ctx context.Context, ref string) (Info, error) {
	var info Info
	err := m.withAgent(ctx, "ask about VM", ref, func(ctx context.Context, c *agentChannel) error {
		for _, ask := range []func(context.Context, *agentChannel) error{info.agent, info.system, info.host, info.network} {
			if err := ask(ctx, c); err != nil && !unknownCommand(err) {
				return err
			}
		}
		return nil
	})
	return info, err
}

// unknownCommand: some distributions switch commands off; what they would have said
// stays empty.
func unknownCommand(err error) bool {
	var refusal *errors.QMPError
	return errors.As(err, &refusal) && refusal.Class == "CommandNotFound"
}

func (i *Info) agent(ctx context.Context, c *agentChannel) error {
	var reply struct {
		Version  string `json:"version"`
		Commands []struct {
			Name    string `json:"name"`
			Enabled bool   `json:"enabled"`
		} `json:"supported_commands"`
	}
	err := c.call(ctx, "guest-info", nil, &reply)
	i.AgentVersion = reply.Version
	for _, cmd := range reply.Commands {
		if cmd.Enabled {
			i.Commands = append(i.Commands, cmd.Name)
		}
	}
	return err
}

func (i *Info) system(ctx context.Context, c *agentChannel) error {
	var reply struct {
		ID         string `json:"id"`
		VersionID  string `json:"version-id"`
		PrettyName string `json:"pretty-name"`
		Kernel     string `json:"kernel-release"`
		Machine    string `json:"machine"`
	}
	err := c.call(ctx, "guest-get-osinfo", nil, &reply)
	i.OS, i.OSVersion, i.OSName = reply.ID, reply.VersionID, reply.PrettyName
	i.Kernel, i.Machine = reply.Kernel, reply.Machine
	return err
}

func (i *Info) host(ctx context.Context, c *agentChannel) error {
	var reply struct {
		Name string `json:"host-name"`
	}
	err := c.call(ctx, "guest-get-host-name", nil, &reply)
	i.Hostname = reply.Name
	return err
}

func (i *Info) network(ctx context.Context, c *agentChannel) (err error) {
	i.Interfaces, err = interfaces(ctx, c)
	return err
}
