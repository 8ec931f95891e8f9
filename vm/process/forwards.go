package process

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/vm"
)

// defaultForwardHost is where a forward is reached that says nothing else.
const defaultForwardHost = "127.0.0.1"

// checkForwards reports ports of the host that can't be had, before QEMU says it without a
// word about why. Somebody may still take one in the moment until QEMU does.
func checkForwards(ctx context.Context, cards []card) error {
	var problems []errors.Problem
	for _, c := range cards {
		for j, f := range c.Forwards {
			if err := bindable(ctx, f); err != nil {
				message, fix := forwardFault(f, err)
				problems = append(problems, errors.Problem{Field: fmt.Sprintf("%s.forwards[%d].port", c.Field, j),
					Value: strconv.Itoa(f.Port), Message: message, Fix: fix})
			}
		}
	}
	if len(problems) == 0 {
		return nil
	}
	return &errors.ConfigError{Kind: errors.ErrInvalidConfiguration, Problems: problems}
}

// bindable takes the host's side of a forward for a moment, as QEMU will.
func bindable(ctx context.Context, f vm.Forward) error {
	if f.Port == 0 {
		return nil
	}
	var lc net.ListenConfig
	address := net.JoinHostPort(cmp.Or(f.Host, defaultForwardHost), strconv.Itoa(f.Port))
	if f.Proto == "udp" {
		conn, err := lc.ListenPacket(ctx, "udp4", address)
		if err != nil {
			return err
		}
		return conn.Close()
	}
	l, err := lc.Listen(ctx, "tcp4", address)
	if err != nil {
		return err
	}
	return l.Close()
}

func forwardFault(f vm.Forward, err error) (message, fix string) {
	switch {
	case errors.Is(err, unix.EADDRINUSE):
		return "is in use on this host", "choose another, end the program that has it (`ss -lnp` shows it), or use 0 for a free one"
	case errors.Is(err, unix.EADDRNOTAVAIL):
		return "can't be had: this host has no address " + f.Host, "correct host"
	case errors.Is(err, unix.EACCES):
		return "needs rights: ports below 1024 do", "use a larger one, or 0 for a free one"
	default:
		return "can't be had: " + err.Error(), "use another, or 0 for a free one"
	}
}

// settledForwards returns the forwards of all cards by name, with the ports that QEMU chose.
func (g *guest) settledForwards(ctx context.Context, cards []card) (map[string][]vm.Forward, error) {
	forwards, open := map[string][]vm.Forward{}, false
	for _, c := range cards {
		if len(c.Forwards) > 0 {
			forwards[c.Name] = slices.Clone(c.Forwards)
			open = open || slices.ContainsFunc(c.Forwards, func(f vm.Forward) bool { return f.Port == 0 })
		}
	}
	if !open {
		return forwards, nil
	}
	text, err := g.monitor(ctx, "info usernet")
	if err != nil {
		return nil, err
	}
	rows := parseUsernet(text)
	for name, list := range forwards {
		for i := range list {
			if list[i].Port != 0 {
				continue
			}
			if list[i].Port = takeRow(rows, name, list[i]); list[i].Port == 0 {
				return nil, fmt.Errorf("QEMU's answer does not say which port it chose for %s, guest port %d: %q", name, list[i].Guest, text)
			}
		}
	}
	return forwards, nil
}

// monitor runs a line of QEMU's human monitor, whose failures are text as well. line is
// never a user's.
func (g *guest) monitor(ctx context.Context, line string) (string, error) {
	raw, err := g.control.Execute(ctx, "human-monitor-command", map[string]string{"command-line": line})
	if err != nil {
		return "", err
	}
	var text string
	return text, json.Unmarshal(raw, &text)
}

// forwardRow is a forward as QEMU has it.
type forwardRow struct {
	card string
	vm.Forward
	taken bool
}

// The lines of `info usernet`, the only answer of QEMU's that has chosen ports (7.2 to 10.0;
// libslirp's slirp_connection_info writes them). Nothing else in the text is looked at.
var (
	usernetCard = regexp.MustCompile(`^Hub -?\d+ \((.+)\):$`)
	usernetRow  = regexp.MustCompile(`^ +(TCP|UDP)\[HOST_FORWARD\] +\d+ +(\*|[0-9.]+) +(\d+) +[0-9.]+ +(\d+) +\d+ +\d+$`)
)

// parseUsernet returns the forwards in the text.
func parseUsernet(text string) []forwardRow {
	var rows []forwardRow
	card := ""
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		if m := usernetCard.FindStringSubmatch(line); m != nil {
			card = m[1]
			continue
		}
		m := usernetRow.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		host := m[2]
		if host == "*" {
			host = "0.0.0.0"
		}
		port, err1 := strconv.ParseUint(m[3], 10, 16)
		guest, err2 := strconv.ParseUint(m[4], 10, 16)
		if err1 == nil && err2 == nil {
			rows = append(rows, forwardRow{card: card, Forward: vm.Forward{
				Host: host, Port: int(port), Guest: int(guest), Proto: strings.ToLower(m[1])}})
		}
	}
	return rows
}

// takeRow returns the port of a row that is what was asked for, each once; 0 for none.
func takeRow(rows []forwardRow, name string, f vm.Forward) int {
	for i, r := range rows {
		if !r.taken && r.card == name && r.Guest == f.Guest && r.Proto == cmp.Or(f.Proto, "tcp") &&
			r.Host == cmp.Or(f.Host, defaultForwardHost) {
			rows[i].taken = true
			return r.Port
		}
	}
	return 0
}
