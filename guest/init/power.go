package main

import (
	"encoding/binary"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"
)

// power ends the guest.
type power struct {
	reaper  *reaper
	once    sync.Once
	mu      sync.Mutex
	buttons map[string]bool // event devices that are watched
}

// killGrace is how long programs get to end after SIGTERM at a shutdown.
const killGrace = 2 * time.Second

// shutdown ends programs and file systems in order; it does not return. how is
// a command of reboot(2).
func (p *power) shutdown(how int) {
	p.once.Do(func() {
		p.reaper.endAll(killGrace)
		powerOff(how)
	})
	select {}
}

// powerOff writes everything back and ends the machine.
func powerOff(how int) {
	syscall.Sync()
	unmountAll()
	syscall.Reboot(how)
}

// endAll asks every process to end, then kills what is left.
func (r *reaper) endAll(grace time.Duration) {
	empty := make(chan struct{})
	go func() {
		r.mu.Lock()
		for len(r.children) > 0 {
			r.changed.Wait()
		}
		r.mu.Unlock()
		close(empty)
	}()
	// A shell at a terminal ignores SIGTERM and ends with SIGHUP.
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGHUP, syscall.SIGCONT} {
		syscall.Kill(-1, sig)
	}
	select {
	case <-empty:
	case <-time.After(grace):
	}
	syscall.Kill(-1, syscall.SIGKILL)
}

// unmountAll unmounts what can be written to, the newest first; what is busy
// becomes read-only, which writes it back as well.
func unmountAll() {
	text, _ := os.ReadFile("/proc/mounts")
	lines := strings.Split(string(text), "\n")
	for i := len(lines) - 1; i >= 0; i-- {
		words := strings.Fields(lines[i])
		if len(words) < 3 || !strings.HasPrefix(words[0], "/dev/") {
			continue // nothing of it survives anyway
		}
		if syscall.Unmount(unescapeMount(words[1]), 0) != nil {
			syscall.Mount("", unescapeMount(words[1]), "", syscall.MS_REMOUNT|syscall.MS_RDONLY, "")
		}
	}
}

// unescapeMount undoes the octal escapes of /proc/mounts.
func unescapeMount(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}

// watchSignals powers off at SIGTERM and reboots at the kernel's SIGINT, which
// is what Ctrl-Alt-Del becomes.
func (p *power) watchSignals() {
	syscall.Reboot(syscall.LINUX_REBOOT_CMD_CAD_OFF)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGUSR2, syscall.SIGPWR)
	for s := range signals {
		if s == syscall.SIGINT {
			p.shutdown(syscall.LINUX_REBOOT_CMD_RESTART)
		}
		p.shutdown(syscall.LINUX_REBOOT_CMD_POWER_OFF)
	}
}

// watchButtons listens on every event device that is not listened on yet.
func (p *power) watchButtons() {
	entries, _ := os.ReadDir("/dev/input")
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range entries {
		name := e.Name()
		if !strings.HasPrefix(name, "event") || p.buttons[name] {
			continue
		}
		f, err := os.OpenFile("/dev/input/"+name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
		if err != nil {
			continue
		}
		if p.buttons == nil {
			p.buttons = map[string]bool{}
		}
		p.buttons[name] = true
		go p.watchButton(f)
	}
}

// watchButton reads input events until one says that the power key is down.
func (p *power) watchButton(f *os.File) {
	const (
		eventSize = 24 // struct input_event with 64 bit times
		typeKey   = 1  // EV_KEY
		keyPower  = 116
	)
	defer f.Close()
	buf := make([]byte, 16*eventSize)
	for {
		n, err := f.Read(buf)
		if err != nil {
			return
		}
		for ev := buf[:n]; len(ev) >= eventSize; ev = ev[eventSize:] {
			typ, code := binary.LittleEndian.Uint16(ev[16:]), binary.LittleEndian.Uint16(ev[18:])
			if typ == typeKey && code == keyPower && binary.LittleEndian.Uint32(ev[20:]) == 1 {
				p.shutdown(syscall.LINUX_REBOOT_CMD_POWER_OFF)
			}
		}
	}
}
