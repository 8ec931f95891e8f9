package main

import (
	"context"
	"os"
	"runtime"
	"syscall"
)

func main() {
	if os.Getpid() != 1 {
		os.Stderr.WriteString("maqet-init: this is a virtual machine's first process; it does nothing elsewhere\n")
		os.Exit(2)
	}
	if err := run(); err != nil {
		say("fatal: " + err.Error())
		powerOff(syscall.LINUX_REBOOT_CMD_POWER_OFF)
	}
}

// run brings the guest up and serves until it is shut down.
func run() error {
	// Everything here waits most of the time. With more processors the Go
	// scheduler wakes threads to look for work, which under emulation halves the
	// speed of transfers and doubles the time of a ping.
	runtime.GOMAXPROCS(1)
	syscall.Umask(0o022)
	mountKernelFS()
	openConsole()
	params := kernelParams()
	if name := params["maqet.hostname"]; name != "" {
		syscall.Sethostname([]byte(name))
	}
	events, err := openUevents()
	if err != nil {
		return err
	}
	mods := newModules("/etc/maqet")
	mods.loadRequired()
	mods.loadForDevices()
	mountRest()
	upLoopback()
	configureNIC()

	reaper := newReaper()
	go reaper.run()
	power := &power{reaper: reaper}
	go power.watchSignals()
	guest := &services{
		ctx:    context.Background(),
		ops:    &operations{reaper: reaper},
		agent:  newAgent(reaper, power),
		served: map[string]bool{},
	}
	guest.serveNewPorts()
	say("ready")
	go runShell(reaper)
	// Nobody waits for the power button, so it comes after everything else.
	for _, alias := range aliasesIn("/sys/class/input") {
		mods.loadAlias(alias)
	}
	power.watchButtons()
	return events.watch(func(e uevent) {
		if e.action == "add" && e.modalias != "" {
			mods.loadAlias(e.modalias)
		}
		switch {
		case e.subsystem == "virtio-ports":
			guest.serveNewPorts()
		case e.action == "add" && e.subsystem == "input":
			power.watchButtons()
		case e.action == "add" && e.subsystem == "net":
			configureNIC()
		}
	})
}
