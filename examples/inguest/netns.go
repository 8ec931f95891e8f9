package inguest

import (
	"fmt"
	"net"
	"runtime"

	"golang.org/x/sys/unix"
)

// Isolated runs fn with a network of its own: what listens there hears nobody outside, and
// nothing that fn dials leaves it. fn must work in the goroutine that calls it.
func Isolated(fn func() error) error {
	done := make(chan error, 1)
	go func() {
		// The thread that is of no use to others afterwards ends with the goroutine.
		runtime.LockOSThread()
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			err = loopbackUp()
		}
		if err != nil {
			done <- fmt.Errorf("make a network: %w", err)
			return
		}
		done <- fn()
	}()
	return <-done
}

// loopbackUp switches on the interface that each network has (netdevice(7)).
func loopbackUp() error {
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(socket) }() // nothing is lost with it
	card, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	card.SetUint16(uint16(net.FlagUp)) // IFF_UP is the same bit
	return unix.IoctlIfreq(socket, unix.SIOCSIFFLAGS, card)
}
