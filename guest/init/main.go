package main

import (
	"context"
	"os"
	"runtime"
	"syscall"
	"time"
)

func main() {
	if os.Getpid() != 1 {
		if len(os.Args) == 2 && os.Args[1] == individualizeArgument {
			os.Exit(individualizeAlone(os.Stdin))
		}
		os.Stderr.WriteString("maqet-init: this is a virtual machine's first process; it does nothing elsewhere\n")
		os.Exit(2)
	}
	if err := run(); err != nil {
		say("fatal: " + err.Error())
		powerOff(syscall.LINUX_REBOOT_CMD_POWER_OFF)
	}
}

// settleTime is how long after the guest is up things come that nobody waits for: they
// would slow down the first command, for which everybody does.
const settleTime = time.Second

// settle loads the drivers of the remaining devices, the power button's among them,
// gives the kernel the program that loads modules on demand, and puts a shell on each
// console.
func settle(mods *modules, power *power, reaper *reaper) {
	linkModprobe()
	mods.loadForDevices("/sys", allBuses("/sys"))
	for _, alias := range aliasesIn("/sys/class/input") {
		mods.loadAlias(alias)
	}
	power.watchButtons()
	for _, line := range powerLines("/proc/device-tree", "/sys") {
		go line.watch(power)
	}
	runShells(reaper)
}

// linkModprobe makes /sbin/modprobe, which the kernel runs for modules that are needed
// (kernel.modprobe). It is not in the initial RAM disk because the kernel would find it
// there while it boots, and run it in vain for each algorithm that is built in.
func linkModprobe() {
	const busybox = "/bin/busybox"
	if syscall.Access(busybox, 1) == nil {
		syscall.Symlink(busybox, "/sbin/modprobe") // fails where there is one
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
	mods.readRules()
	mods.loadForDevices("/sys", firstBuses("/sys"))
	mountRest()
	mountVariables(mods)
	if err := mountShares(mods); err != nil {
		return err
	}
	onlineMemory("/sys")
	upLoopback()
	nets := newNetworks("/sys", params["maqet.net"])
	nets.configure()

	reaper := newReaper()
	go reaper.run()
	power := &power{reaper: reaper}
	go power.watchSignals()
	guest := &services{
		ctx:    context.Background(),
		ops:    &operations{reaper: reaper, nets: nets},
		agent:  newAgent(reaper, power),
		served: map[string]bool{},
	}
	guest.serveNewPorts()
	say("ready")
	time.AfterFunc(settleTime, func() { settle(mods, power, reaper) })
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
			nets.configure()
		case e.action == "add" && (e.subsystem == "cpu" || e.subsystem == "memory"):
			online("/sys" + e.path)
		}
	})
}
