package libvirt

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/digitalocean/go-libvirt"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/internal/asciijson"
)

// agentTime is how long libvirt waits for the answer to one command of the guest's agent,
// in seconds. Meanwhile it takes no other command for it.
const agentTime = 60

// agentConn is a guest's agent channel. libvirt holds the other end itself, so what is
// written here is cut into commands that go through virDomainQemuAgentCommand, one at a
// time, and what is read are their answers in order: a client of the guest agent's
// protocol sees no difference (QEMU Guest Agent Protocol Reference).
//
// libvirt keeps its own step with the agent. A guest-sync or guest-sync-delimited written
// here is answered here, as soon as the agent answers libvirt. What is written after a
// mark (0xFF) makes what came before, and was not executed yet, forgotten.
//
// A command that can't be executed for another reason than the agent's own refusal ends
// the connection: reads return why, an *errors.Error.
type agentConn struct {
	net.Conn // the client's end of a pipe
	peer     net.Conn
	host     *host
	domain   libvirt.Domain
	vm       string
	changed  <-chan struct{} // sometimes has a value when the agent may have come

	life  context.Context
	leave context.CancelFunc
	work  sync.WaitGroup

	requests *agentRequests

	mu      sync.Mutex
	failure error
}

// newAgentConn returns a connection of its own with the agent of a domain. changed, which
// may be nil, has a value when the agent may have appeared, so that a sync is answered
// soon afterwards. It costs nothing at libvirtd while it is idle.
func newAgentConn(h *host, domain libvirt.Domain, vm string, changed <-chan struct{}) net.Conn {
	c := &agentConn{host: h, domain: domain, vm: vm, changed: changed, requests: newAgentRequests()}
	c.Conn, c.peer = net.Pipe()
	c.life, c.leave = context.WithCancel(context.Background()) // ends with Close
	c.work.Go(func() { c.fail(c.requests.read(c.peer)) })
	c.work.Go(c.serve)
	return c
}

// Read implements net.Conn.
func (c *agentConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if errors.Is(err, io.EOF) {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.failure != nil {
			err = c.failure
		}
	}
	return n, err
}

// Close implements net.Conn. It waits for no command.
func (c *agentConn) Close() error {
	c.leave()
	err := c.Conn.Close()
	_ = c.peer.Close() // a pipe's never fails
	c.work.Wait()
	return err
}

// fail ends the connection; the first reason counts.
func (c *agentConn) fail(err error) {
	c.mu.Lock()
	if c.failure == nil && !errors.Is(err, io.EOF) && c.life.Err() == nil {
		c.failure = err
	}
	c.mu.Unlock()
	c.leave()
	_ = c.peer.Close()
}

// serve answers requests until the connection ends.
func (c *agentConn) serve() {
	for {
		request, err := c.requests.next(c.life)
		if err != nil {
			return
		}
		answer, err := c.answer(request)
		if err == nil && answer != nil {
			_, err = c.peer.Write(append(answer, '\n'))
		}
		if err != nil {
			c.fail(err)
			return
		}
	}
}

// agentRequest is a command as clients write it.
type agentRequest struct {
	Execute   string `json:"execute"`
	Arguments struct {
		ID json.RawMessage `json:"id"`
	} `json:"arguments"`
}

// answer returns the answer to a line, without its end; nil for none.
func (c *agentConn) answer(line []byte) ([]byte, error) {
	var in agentRequest
	if err := json.Unmarshal(line, &in); err != nil {
		return agentRefusal("GenericError", "Invalid JSON syntax"), nil
	}
	switch in.Execute {
	case "guest-sync", "guest-sync-delimited":
		if _, err := c.execute(`{"execute":"guest-ping"}`, true); err != nil {
			return nil, c.unanswered(err)
		}
		answer := fmt.Appendf(nil, `{"return":%s}`, in.Arguments.ID)
		if in.Execute == "guest-sync-delimited" {
			answer = append([]byte{agentMark}, answer...)
		}
		return answer, nil
	}
	if line = asciijson.Escape(line); len(line) > maxAgentCommand {
		answer, err := c.long(line)
		return answer, c.unanswered(err)
	}
	answer, refusal, err := c.ask(in.Execute, string(line))
	if refusal != nil {
		return refusal, nil
	}
	if err != nil {
		return nil, c.unanswered(err)
	}
	return []byte(answer), nil
}

// unanswered is why there is no answer, nil when nobody wants one.
func (c *agentConn) unanswered(err error) error {
	switch {
	case err == nil, errors.Is(err, errUnwanted):
		return nil
	case errors.Is(err, errors.ErrLibvirtConnection):
		return err
	}
	return errors.Wrap(errors.ErrAgentUnavailable, "", "", err)
}

// command executes one command.
func (c *agentConn) command(request string) (string, error) {
	return ask(c.life, c.host.longCall, "guest agent", c.vm, func(l *libvirt.Libvirt) (string, error) {
		reply, err := l.QEMUDomainAgentCommand(c.domain, request, agentTime, 0)
		if len(reply) == 0 {
			return "", err
		}
		return reply[0], err
	})
}

// agentPause is the longest time between two looks whether the agent answers. libvirt
// tells when one appears or goes, but not when one that has hung works again.
const agentPause = 2 * time.Second

// errUnwanted ends what the client does not wait for any more.
var errUnwanted = errors.New("the client has written something else meanwhile")

// execute is command, and waits while the agent can't get it: the guest is halted or, for a
// sync, has no agent yet.
func (c *agentConn) execute(request string, sync bool) (string, error) {
	for pause := 50 * time.Millisecond; ; pause = min(2*pause, agentPause) {
		reply, err := c.command(request)
		switch {
		case err == nil:
			return reply, nil
		case hasCode(err, libvirt.ErrOperationInvalid) && c.halted():
		case sync && errors.Is(err, errors.ErrAgentUnavailable):
		default:
			return "", err
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-c.changed:
		case <-c.requests.more:
		case <-c.life.Done():
		}
		timer.Stop()
		if c.life.Err() != nil {
			return "", c.life.Err()
		}
		if c.requests.waiting() {
			return "", errUnwanted
		}
	}
}

// halted reports whether the guest's CPUs are: libvirt refuses to ask its agent then.
func (c *agentConn) halted() bool {
	state, err := ask(c.life, c.host.call, "look at VM", c.vm, func(l *libvirt.Libvirt) (int32, error) {
		state, _, err := l.DomainGetState(c.domain, 0)
		return state, err
	})
	return err == nil && libvirt.DomainState(state) == libvirt.DomainPaused
}

// refusal is the agent's own refusal of a command. Of that libvirt tells no class, so a
// command that the agent does not have is recognised by the list of those that it has:
// clients ask for that class.
func (c *agentConn) refusal(command string, err error) []byte {
	class := "GenericError"
	if has, known := c.offers(command); known && !has {
		class = "CommandNotFound"
	}
	var e libvirt.Error
	errors.As(err, &e)
	return agentRefusal(class, e.Message)
}

func (c *agentConn) offers(command string) (has, known bool) {
	reply, err := c.command(`{"execute":"guest-info"}`)
	if err != nil {
		return false, false
	}
	var info struct {
		Return struct {
			Commands []struct {
				Name    string `json:"name"`
				Enabled bool   `json:"enabled"`
			} `json:"supported_commands"`
		} `json:"return"`
	}
	if json.Unmarshal([]byte(reply), &info) != nil {
		return false, false
	}
	for _, have := range info.Return.Commands {
		if have.Name == command {
			return have.Enabled, true
		}
	}
	return false, true
}

func agentRefusal(class, desc string) []byte {
	out, _ := json.Marshal(map[string]any{"error": map[string]string{"class": class, "desc": desc}}) // strings always are
	return out
}
