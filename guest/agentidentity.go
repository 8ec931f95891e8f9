package guest

import (
	"bytes"
	"context"
	"io"
	"os"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/guest/initramfs"
)

// scriptPlace makes a file in the first folder where root may run one: some systems forbid it
// where files live in memory, others where they are on a disk.
const scriptPlace = `for d in /dev/shm /run /tmp /var/tmp /; do
	f=$(mktemp "$d/maqet.XXXXXX" 2>/dev/null) || continue
	if printf '#!/bin/sh\nexit 0\n' >"$f" && chmod 700 "$f" && "$f" 2>/dev/null; then echo "$f"; exit; fi
	rm -f "$f"
done
echo "there is no folder in which root may run a program" >&2
exit 1`

// scriptRunOnce runs a program and removes it. The name of its one use is in guest/init.
const scriptRunOnce = `"$1" individualize
s=$?
rm -f "$1"
exit $s`

// scriptRenew has whoever is in charge of the card with an address ask for a new lease; it
// fails when all that is there for that does.
const scriptRenew = `try() {
	command -v "$1" >/dev/null 2>&1 || return 1
	there=$1
	"$@" >/dev/null 2>&1
}
there=
for a in /sys/class/net/*/address; do
	[ "$(cat "$a")" = "$1" ] || continue
	i=${a%/address} i=${i##*/}
	try networkctl renew "$i" || try nmcli device connect "$i" || try ifdown --force "$i" && try ifup "$i" ||
		try dhcpcd -n "$i" || [ -z "$there" ] || { echo "no new lease for $i: $there failed" >&2; exit 1; }
done`

// individualize runs the init program of maqet's own guest in this one: it does in it what it
// does there.
func (w *agentWay) individualize(ctx context.Context, c change) error {
	program, err := w.m.program(ctx, c.arch)
	if err != nil {
		return err
	}
	place, err := w.must(ctx, "mktemp", scriptPlace)
	if err != nil {
		return err
	}
	remove := func(ctx context.Context) error { _, _, err := w.shell(ctx, scriptRemove, place); return err }
	if err := w.writeHandle(ctx, place, bytes.NewReader(program)); err != nil {
		w.tidy(remove)
		return err
	}
	id := c.Fresh()
	var complaint capture
	end, err := w.exec(ctx, Command{Args: []string{"sh", "-c", scriptRunOnce, "sh", place},
		Stdin: bytes.NewReader(id.Encode()), Stdout: io.Discard, Stderr: &complaint})
	if err != nil {
		w.tidy(remove)
		return err
	}
	if end.code != 0 {
		text, _ := complaint.take()
		return &errors.Error{Kind: errors.ErrGuest, Err: &errors.CommandError{
			Args: []string{"individualize"}, ExitCode: end.code, Signal: end.signal, Stderr: string(text)}}
	}
	for _, mac := range c.renew {
		if _, err := w.must(ctx, "renew the lease of "+mac, scriptRenew, mac); err != nil {
			return err
		}
	}
	return nil
}

// program returns the init program for an architecture.
func (m *Manager) program(ctx context.Context, arch string) ([]byte, error) {
	cache, err := m.cache()
	if err != nil {
		return nil, err
	}
	path, err := initramfs.BuildInit(ctx, initSource, initramfs.InitOptions{Arch: arch, CacheDir: cache})
	if err != nil {
		return nil, err
	}
	return os.ReadFile(path)
}
