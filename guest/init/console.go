package main

import (
	"os"
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

// activeConsole is the terminal behind /dev/console, which unlike that one can
// be a session's controlling terminal.
func activeConsole() string {
	text, err := os.ReadFile("/sys/class/tty/console/active")
	if err != nil {
		return ""
	}
	name := text
	for i, c := range text {
		if c == ' ' {
			name = text[i+1:] // the last one is /dev/console
		}
	}
	for len(name) > 0 && name[len(name)-1] == '\n' {
		name = name[:len(name)-1]
	}
	if len(name) == 0 {
		return ""
	}
	return "/dev/" + string(name)
}

// runShell keeps a shell on the console for a person who types there.
func runShell(r *reaper) {
	const shell = "/bin/sh"
	tty := activeConsole()
	if tty == "" || syscall.Access(shell, 1) != nil {
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
