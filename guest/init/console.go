package main

import (
	"strings"
	"syscall"
	"time"
	"unsafe"
)

// openConsole makes the console init's standard files when the kernel could
// not: an initramfs need not have a /dev/console before devtmpfs is mounted.
func openConsole() {
	fd, err := syscall.Open("/dev/console", syscall.O_RDWR|syscall.O_NOCTTY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	for std := range 3 {
		if fd != std {
			syscall.Dup3(fd, std, 0)
		}
	}
	if fd > 2 {
		syscall.Close(fd)
	}
}

// say prints a line on the console: a sign of life, and the last words.
func say(text string) { syscall.Write(2, []byte("maqet-init: "+text+"\r\n")) }

// consoles are the terminals of the kernel's consoles, those that console= arguments
// name. Unlike /dev/console they can be a session's controlling terminal.
func consoles(active string) (ttys []string) {
	for name := range strings.FieldsSeq(active) {
		ttys = append(ttys, "/dev/"+name)
	}
	return ttys
}

// runShells keeps a shell on each console for people who type there: on a screen, too,
// if console=tty0 is among the kernel's arguments.
func runShells(r *reaper) {
	for _, tty := range consoles(readSmall("/sys/class/tty/console/active")) {
		go runShell(r, tty)
	}
}

func runShell(r *reaper, tty string) {
	const shell = "/bin/sh"
	if syscall.Access(shell, 1) != nil {
		return
	}
	for {
		fd, err := syscall.Open(tty, syscall.O_RDWR|syscall.O_NOCTTY|syscall.O_CLOEXEC, 0)
		if err != nil || !isTerminal(fd) {
			return
		}
		p, err := r.start(shell, []string{"-sh"}, &syscall.ProcAttr{
			Dir:   "/",
			Env:   defaultEnv(),
			Files: []uintptr{uintptr(fd), uintptr(fd), uintptr(fd)},
			Sys:   &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 0},
		})
		syscall.Close(fd)
		if err != nil {
			return
		}
		<-p.done
		time.Sleep(time.Second) // a shell that ends at once must not spin
	}
}

func isTerminal(fd int) bool {
	var t syscall.Termios
	_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, uintptr(fd), syscall.TCGETS, uintptr(unsafe.Pointer(&t)))
	return errno == 0
}
