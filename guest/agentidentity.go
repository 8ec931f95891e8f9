package guest

import (
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"os"
	"slices"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/guest/initramfs"
)

// individualizeFeature is how maqet's own init says that its program can be run for that
// (guest/init, features).
const individualizeFeature = "maqet-individualize-1"

// scriptPlace makes a folder where root may run a program: some systems forbid it where files
// live in memory, others where they are on a disk.
const scriptPlace = `command -v gzip >/dev/null || { echo "there is no gzip" >&2; exit 1; }
for in in /dev/shm /run /tmp /var/tmp /; do
	d=$(mktemp -d "$in/maqet.XXXXXX" 2>/dev/null) || continue
	if printf '#!/bin/sh\nexit 0\n' >"$d/run" && chmod 700 "$d/run" && "$d/run" 2>/dev/null; then echo "$d"; exit; fi
	rm -f "$d/run"
	rmdir "$d"
done
echo "there is no folder in which root may run a program" >&2
exit 1`

const scriptClear = `rm -f "$1/run" "$1/packed" && rmdir "$1"`

// scriptRunOnce unpacks the program, runs it and removes it.
const scriptRunOnce = `gzip -dc <"$1/packed" >"$1/run" && "$1/run" individualize
s=$?
` + scriptClear + `
exit $s`

// scriptRenew has whoever is in charge of the card with an address ask for a new lease; it
// fails when all that is there for that does. systemd-networkd asks by itself when the address
// of a card that it manages changes; it says which those are in files.
const scriptRenew = `try() {
	command -v "$1" >/dev/null 2>&1 || return 1
	there=$1
	"$@" >/dev/null 2>&1
}
there=
for a in /sys/class/net/*/address; do
	[ "$(cat "$a")" = "$1" ] || continue
	card=${a%/address}
	grep -qx 'ADMIN_STATE=configur.*' "/run/systemd/netif/links/$(cat "$card/ifindex")" 2>/dev/null && continue
	i=${card##*/}
	try nmcli device connect "$i" || { try ifdown --force "$i" && try ifup "$i"; } || try dhcpcd -n "$i" ||
		[ -z "$there" ] || { echo "no new lease for $i: $there failed" >&2; exit 1; }
done`

// individualize runs the init program of maqet's own guest in this one: it does in it what it
// does there.
func (w *agentWay) individualize(ctx context.Context, c change) error {
	var info Info
	if err := info.agent(ctx, w.channel); err != nil && !unknownCommand(err) {
		return err
	}
	if slices.Contains(info.Commands, individualizeFeature) {
		return w.runIndividualize(ctx, c, "/proc/1/exe", "individualize") // it is the program
	}
	program, err := w.m.program(ctx, c.arch)
	if err != nil {
		return err
	}
	place, err := w.must(ctx, "mktemp", scriptPlace)
	if err != nil {
		return err
	}
	err = w.writeHandle(ctx, place+"/packed", bytes.NewReader(program))
	if err == nil {
		err = w.runIndividualize(ctx, c, "sh", "-c", scriptRunOnce, "sh", place)
	}
	if err != nil {
		w.tidy(func(ctx context.Context) error { _, _, err := w.shell(ctx, scriptClear, place); return err })
		return err
	}
	for _, mac := range c.renew {
		if _, err := w.must(ctx, "renew the lease of "+mac, scriptRenew, mac); err != nil {
			return err
		}
	}
	return nil
}

// runIndividualize runs a program that reads an identity.
func (w *agentWay) runIndividualize(ctx context.Context, c change, args ...string) error {
	var complaint capture
	end, err := w.exec(ctx, Command{Args: args, Stdin: bytes.NewReader(c.Fresh().Encode()), Stdout: io.Discard, Stderr: &complaint})
	if err != nil || end.code == 0 {
		return err
	}
	text, _ := complaint.take()
	return &errors.Error{Kind: errors.ErrGuest, Err: &errors.CommandError{
		Args: []string{"individualize"}, ExitCode: end.code, Signal: end.signal, Stderr: string(text)}}
}

// program returns the init program for an architecture, packed: the agent takes some megabytes
// a second.
func (m *Manager) program(ctx context.Context, arch string) ([]byte, error) {
	cache, err := m.cache()
	if err != nil {
		return nil, err
	}
	path, err := initramfs.BuildInit(ctx, initSource, initramfs.InitOptions{Arch: arch, CacheDir: cache})
	if err != nil {
		return nil, err
	}
	program, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var packed bytes.Buffer
	z, err := gzip.NewWriterLevel(&packed, gzip.BestSpeed)
	if err != nil {
		return nil, err
	}
	_, err = z.Write(program)
	err = errors.Join(err, z.Close())
	return packed.Bytes(), err
}
