package guest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/maqet/maqet/errors"
)

// condition is a Condition made of a name and a function.
type condition struct {
	name string
	wait func(ctx context.Context, t Target) error
}

func (c condition) Wait(ctx context.Context, t Target) error { return c.wait(ctx, t) }
func (c condition) String() string                           { return c.name }

// AgentReady holds when the guest's init or agent answers. It takes at most
// Config.Timeouts.Ready.
func AgentReady() Condition {
	return condition{"agent answers", func(ctx context.Context, t Target) error { return t.m.Ping(ctx, t.ref) }}
}

// ConsoleText holds when the console has printed text, at any time since the guest
// started.
func ConsoleText(text string) Condition {
	return condition{fmt.Sprintf("console prints %q", text), func(ctx context.Context, t Target) error {
		return expect(t, func(c Console) (Match, error) { return c.ExpectText(ctx, text) })
	}}
}

// ConsoleMatch is ConsoleText for a regular expression.
func ConsoleMatch(pattern *regexp.Regexp) Condition {
	return condition{fmt.Sprintf("console matches %q", pattern), func(ctx context.Context, t Target) error {
		return expect(t, func(c Console) (Match, error) { return c.Expect(ctx, pattern) })
	}}
}

func expect(t Target, find func(Console) (Match, error)) error {
	c, err := t.m.Console(t.ref)
	if err == nil {
		_, err = find(c)
	}
	return err
}

// FileExists holds when something has that path in the guest. Nothing reports that to
// the host, so the guest is asked again and again, in growing intervals from 5 to 500 ms.
func FileExists(path string) Condition {
	return condition{"file " + strconv.Quote(path) + " exists", func(ctx context.Context, t Target) error {
		name, err := absGuestPath(path)
		if err != nil {
			return err
		}
		return repeat(ctx, func(ctx context.Context) error {
			return t.do(ctx, "look for "+path+" in VM", func(ctx context.Context, w way) error {
				found, err := w.exists(ctx, name)
				if err == nil && !found {
					return notYet{&fs.PathError{Op: "find", Path: path, Err: fs.ErrNotExist}}
				}
				return err
			})
		})
	}}
}

// CommandSucceeds holds when the program exits with 0. It is run again in growing
// intervals from 5 to 500 ms. A program that does not exist is a failure at once.
func CommandSucceeds(args ...string) Condition {
	return condition{fmt.Sprintf("command %q succeeds", args), func(ctx context.Context, t Target) error {
		return repeat(ctx, func(ctx context.Context) error {
			_, err := t.exec(ctx, Command{Args: args})
			var failed *errors.CommandError
			if errors.As(err, &failed) {
				return notYet{err}
			}
			return err
		})
	}}
}

// PortOpen holds when a program in the guest listens on that TCP port, at an address
// that others can reach. The guest's own table is read, in the intervals of FileExists:
// a connection through a forwarded port tells nothing, because QEMU accepts it whether or
// not anybody listens in the guest.
func PortOpen(port int) Condition {
	return condition{"port " + strconv.Itoa(port) + " is open", func(ctx context.Context, t Target) error {
		if port < 1 || port > 65535 {
			return &errors.Error{Kind: errors.ErrInvalidConfiguration, Op: "wait for port " + strconv.Itoa(port), VM: t.ref,
				Msg: "ports go from 1 to 65535"}
		}
		return repeat(ctx, func(ctx context.Context) error { return listens(ctx, t, uint16(port)) })
	}}
}

func listens(ctx context.Context, t Target, port uint16) error {
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		text, err := t.readFile(ctx, table)
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // no IPv6
			return err
		}
		if hasListener(text, port) {
			return nil
		}
	}
	return notYet{fmt.Errorf("nobody listens on port %d", port)}
}

// hasListener looks for a socket in state LISTEN (0A) whose local address is not a
// loopback one. Addresses are words of four bytes in the guest's byte order, which is
// little endian on every architecture that is supported (proc(5), /proc/net/tcp).
func hasListener(table []byte, port uint16) bool {
	lines := bufio.NewScanner(bytes.NewReader(table))
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 4 || fields[3] != "0A" {
			continue
		}
		address, number, _ := strings.Cut(fields[1], ":")
		if n, err := strconv.ParseUint(number, 16, 16); err != nil || uint16(n) != port {
			continue
		}
		raw, err := hex.DecodeString(address)
		if err != nil || len(raw)%4 != 0 {
			continue
		}
		for i := 0; i < len(raw); i += 4 {
			raw[i], raw[i+1], raw[i+2], raw[i+3] = raw[i+3], raw[i+2], raw[i+1], raw[i]
		}
		if ip, ok := netip.AddrFromSlice(raw); ok && !ip.Unmap().IsLoopback() {
			return true
		}
	}
	return false
}

// QMPEvent holds when QEMU reports the event, from the beginning of the wait on: one
// that came before is not seen.
func QMPEvent(name string) Condition {
	return condition{"QEMU reports " + name, func(ctx context.Context, t Target) error {
		g, err := t.m.machines.Live(ctx, t.ref)
		if err != nil {
			return err
		}
		events := g.QMP().Subscribe(name)
		defer events.Close()
		for {
			select {
			case ev, ok := <-events.C():
				if !ok {
					return &errors.Error{Kind: errors.ErrQMPConnection, Op: "wait for event " + name + " of VM", VM: t.ref, Err: g.QMP().Err()}
				}
				if ev.Name == name { // not a notice about lost events
					return nil
				}
			case <-ctx.Done():
				return contextError(ctx)
			}
		}
	}}
}

// Intervals in which a guest is asked for what it can't report.
const (
	repeatFirst = 5 * time.Millisecond
	repeatLast  = 500 * time.Millisecond
)

// notYet marks an error after which it is worth trying again.
type notYet struct{ error }

func (e notYet) Unwrap() error { return e.error }

// repeat tries fn until it succeeds or fails for good. A guest that was reset, or whose
// agent was restarted, is tried again as well.
func repeat(ctx context.Context, fn func(context.Context) error) error {
	pause := repeatFirst
	timer := time.NewTimer(pause)
	defer timer.Stop()
	for {
		err := fn(ctx)
		var again notYet
		if err == nil || !errors.As(err, &again) && !errors.Is(err, errLost) {
			return err
		}
		timer.Reset(pause)
		select {
		case <-ctx.Done():
			return errors.Join(contextError(ctx), err)
		case <-timer.C:
		}
		pause = min(pause*3/2, repeatLast)
	}
}
