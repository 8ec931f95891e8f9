package main

import (
	"context"
	"net/netip"
	"os"
	"syscall"

	"github.com/maqet/maqet/guest/wire"
)

// Dial connects to a TCP address. It asks the kernel itself: package net would double this
// program's size.
func (o *operations) Dial(ctx context.Context, address string, connected func() error, from *wire.In, to *wire.Out) error {
	target, err := netip.ParseAddrPort(address)
	if err != nil {
		return &wire.RemoteError{Op: "dial", Path: address, Errno: syscall.EINVAL, Msg: err.Error()}
	}
	conn, err := dialTCP(ctx, target)
	if err != nil {
		return &os.PathError{Op: "dial", Path: address, Err: err}
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	if err := connected(); err != nil {
		return err
	}
	sent := make(chan error, 1)
	go func() {
		_, err := from.WriteTo(conn)
		if err == nil {
			shutdownWrite(conn)
		}
		sent <- err
		if err != nil {
			conn.Close() // nothing more will come of it
		}
	}()
	if _, err = to.ReadFrom(conn); err == nil {
		err = to.CloseWrite()
	}
	if err == nil {
		return <-sent
	}
	// The stream's end ends the other direction, unless that one was why.
	select {
	case sendErr := <-sent:
		if sendErr != nil {
			return sendErr
		}
	default:
	}
	return err
}

// dialTCP returns a connected socket that does not block.
func dialTCP(ctx context.Context, target netip.AddrPort) (*os.File, error) {
	var address syscall.Sockaddr = &syscall.SockaddrInet6{Port: int(target.Port()), Addr: target.Addr().As16()}
	family := syscall.AF_INET6
	if ip := target.Addr().Unmap(); ip.Is4() {
		family, address = syscall.AF_INET, &syscall.SockaddrInet4{Port: int(target.Port()), Addr: ip.As4()}
	}
	fd, err := syscall.Socket(family, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC|syscall.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	if err := syscall.Connect(fd, address); err != nil && err != syscall.EINPROGRESS {
		syscall.Close(fd)
		return nil, err
	}
	conn := os.NewFile(uintptr(fd), "tcp "+target.String())
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	err = awaitConnection(conn)
	if !stop() {
		err = context.Cause(ctx)
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

// awaitConnection waits until a connect has succeeded or failed (connect(2), EINPROGRESS).
func awaitConnection(conn *os.File) error {
	rc, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var failure error
	err = rc.Write(func(fd uintptr) bool {
		errno, err := syscall.GetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_ERROR)
		switch {
		case err != nil:
			failure = err
		case errno != 0:
			failure = syscall.Errno(errno)
		default:
			_, err := syscall.Getpeername(int(fd))
			return err != syscall.ENOTCONN
		}
		return true
	})
	if err != nil {
		return err
	}
	return failure
}

func shutdownWrite(conn *os.File) {
	if rc, err := conn.SyscallConn(); err == nil {
		rc.Control(func(fd uintptr) { syscall.Shutdown(int(fd), syscall.SHUT_WR) })
	}
}
