package main

import (
	"io"
	"os"
	"strings"
	"syscall"

	"github.com/maqet/maqet/guest/wire"
)

// individualizeArgument has this program, in a guest with another init, do what the operation
// of that name does, with the identity at its standard input.
const individualizeArgument = "individualize"

// individualizeAlone is the program's other use. It returns the exit code.
func individualizeAlone(in io.Reader) int {
	message, err := io.ReadAll(in)
	if err == nil {
		var id wire.Identity
		if id, err = wire.DecodeIdentity(message); err == nil {
			err = individualize(id)
		}
	}
	if err != nil {
		os.Stderr.WriteString(err.Error() + "\n")
		return 1
	}
	return 0
}

// Individualize gives the guest an identity of its own.
func (o *operations) Individualize(id wire.Identity) error {
	o.nets.moved(id.Cards)
	return individualize(id)
}

// individualize reseeds first, so that nothing that comes after draws what other guests have
// drawn. It is on the way of each fork, and each line here is one that an emulated CPU has not
// run before: so there are few, and no program is started.
func individualize(id wire.Identity) error {
	var bad failures
	if len(id.Seed) > 0 {
		bad.add("reseed the random generator", reseed(id.Seed))
	}
	if !id.Now.IsZero() {
		bad.add("set the clock", setClock(id.Now))
		setRTC(id.Now) // there may be none
	}
	if id.Hostname != "" {
		bad.add("set the host name", syscall.Sethostname([]byte(id.Hostname)))
		bad.add("write /etc/hostname", writeIfPossible("/etc/hostname", id.Hostname+"\n"))
	}
	if id.MachineID != "" {
		bad.add("write /etc/machine-id", writeIfPossible("/etc/machine-id", id.MachineID+"\n"))
	}
	if len(id.Cards) > 0 {
		bad.add("change the network cards", withSocket(func(fd int) error { changeCards(fd, id.Cards, &bad); return nil }))
	}
	return bad.err()
}

// failures are the parts that have failed.
type failures struct {
	texts []string
	errno syscall.Errno // of the first
}

func (f *failures) add(what string, err error) {
	if err == nil {
		return
	}
	f.texts = append(f.texts, what+": "+err.Error())
	if f.errno == 0 {
		f.errno = errnoOf(err)
	}
}

func (f *failures) err() error {
	if len(f.texts) == 0 {
		return nil
	}
	return &wire.RemoteError{Op: individualizeArgument, Errno: f.errno, Msg: strings.Join(f.texts, "; ")}
}

// errnoOf looks where the errors of this program have their numbers.
func errnoOf(err error) syscall.Errno {
	for {
		switch e := err.(type) {
		case syscall.Errno:
			return e
		case interface{ Unwrap() error }:
			err = e.Unwrap()
		default:
			return 0
		}
	}
}

// writeIfPossible replaces what a file has, or makes it. In place, because it may be mounted
// there. That the file system is read-only, or has no such folder, is no error.
func writeIfPossible(path, text string) error {
	const flags = syscall.O_WRONLY | syscall.O_CREAT | syscall.O_TRUNC | syscall.O_CLOEXEC
	fd, err := syscall.Open(path, flags, 0o644)
	switch err {
	case nil:
	case syscall.EROFS, syscall.ENOENT:
		return nil
	default:
		return err
	}
	defer syscall.Close(fd)
	_, err = syscall.Write(fd, []byte(text))
	return err
}
