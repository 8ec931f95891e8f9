package maqettest

import (
	"slices"
	"strings"

	"github.com/maqet/maqet/vm"
	"github.com/maqet/maqet/vm/process"
)

// reproduction returns a shell script that boots a guest like that of an instance, with its
// console at the terminal. What maqet would inherit to QEMU is left out: the sockets of QMP and
// of the agent, and memory that forks share. A fork boots, too, because what it was forked from
// is gone.
func reproduction(inst vm.Instance) (string, error) {
	cfg := inst.Config.Clone()
	cfg.Name, cfg.Template = inst.Name, false
	argv, err := process.CommandLine(cfg, process.Capabilities{
		Binary: inst.Runtime.Args[0], Machine: inst.Runtime.Machine, Accel: inst.Runtime.Accel, ID: inst.ID,
		Sandbox: slices.Contains(inst.Runtime.Args, "-sandbox"), Boot: &inst.Runtime.Boot,
	})
	if err != nil {
		return "", err
	}
	var b strings.Builder
	b.WriteString("#!/bin/sh\n# Boots a guest like " + inst.Name + ". Its console is at the terminal; Ctrl-C ends it.\n")
	if inst.Fork != nil {
		b.WriteString("# That was a fork of " + inst.Fork.Template + ": this one boots, and nobody has set it up.\n")
	}
	if len(cfg.Disks) > 0 {
		b.WriteString("# The images that were made for the test are gone with it: make them, or name others.\n")
	}
	b.WriteString("exec " + process.Quote(standalone(argv)) + "\n")
	return b.String(), nil
}

// standalone takes out of a command line what refers to maqet: -S, because nobody would let
// the guest run, monitors, and sockets that are inherited.
func standalone(argv []string) (out []string) {
	for i := 0; i < len(argv); i++ {
		option, value := argv[i], ""
		if i+1 < len(argv) {
			value = argv[i+1]
		}
		switch {
		case option == "-S":
			continue
		case option == "-mon":
			i++
			continue
		case option == "-chardev" && strings.HasPrefix(value, "socket,id="):
			id, rest, _ := strings.Cut(strings.TrimPrefix(value, "socket,id="), ",")
			switch {
			case !strings.HasPrefix(rest, "fd="): // one that QEMU makes itself
			case strings.HasPrefix(id, "qmp"):
				i++
				continue
			case id == vm.ChannelConsole:
				argv[i+1] = "stdio,id=" + id
			default:
				argv[i+1] = "null,id=" + id
			}
		}
		out = append(out, option)
	}
	return out
}
