package guestview

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"regexp"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/vm"
)

// DefaultForwardHost is where a forward is reached that says nothing else.
const DefaultForwardHost = "127.0.0.1"

// CheckForwards reports ports of the host that can't be had, before QEMU says it without a
// word about why. Somebody may still take one in the moment until QEMU does.
func CheckForwards(ctx context.Context, cards []Card) error {
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
	address := net.JoinHostPort(cmp.Or(f.Host, DefaultForwardHost), strconv.Itoa(f.Port))
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

// ForwardRow is a forward as QEMU has it.
type ForwardRow struct {
	Card string // its ID in QEMU
	vm.Forward
	taken bool
}

// The lines of `info usernet`, the only answer of QEMU's that has chosen ports (7.2 to 10.0;
// libslirp's slirp_connection_info writes them). Nothing else in the text is looked at.
var (
	usernetCard = regexp.MustCompile(`^Hub -?\d+ \((.+)\):$`)
	usernetRow  = regexp.MustCompile(`^ +(TCP|UDP)\[HOST_FORWARD\] +\d+ +(\*|[0-9.]+) +(\d+) +[0-9.]+ +(\d+) +\d+ +\d+$`)
)

// ParseUsernet returns the forwards in the text.
func ParseUsernet(text string) []ForwardRow {
	var rows []ForwardRow
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
			rows = append(rows, ForwardRow{Card: card, Forward: vm.Forward{
				Host: host, Port: int(port), Guest: int(guest), Proto: strings.ToLower(m[1])}})
		}
	}
	return rows
}

// TakeRow returns the port of a row that is what was asked for, each once; 0 for none. Any
// port is, where f has 0.
func TakeRow(rows []ForwardRow, name string, f vm.Forward) int {
	for i, r := range rows {
		if !r.taken && r.Card == name && r.Guest == f.Guest && r.Proto == cmp.Or(f.Proto, "tcp") &&
			r.Host == cmp.Or(f.Host, DefaultForwardHost) && (f.Port == 0 || f.Port == r.Port) {
			rows[i].taken = true
			return r.Port
		}
	}
	return 0
}
