package main

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/vm"
)

// configFlags are the flags by which a VM is described without a file, or a file's
// values are changed.
type configFlags struct {
	name, memory, kernel, accel, backend string
	cpus                                 int
	disks, bases, forwards               []string
	labels                               map[string]string
}

const configHelp = `FILE is a configuration in YAML or JSON; of several, later ones change what
earlier ones say, and flags change what files say. Without any it is the default
guest: a small Linux. A DISK is the path of an image, or the size of a new one.`

func (f *configFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVarP(&f.name, "name", "n", "", "the VM's name")
	flags.StringVarP(&f.memory, "memory", "m", "", "memory, such as 512M")
	flags.IntVarP(&f.cpus, "cpus", "c", 0, "number of virtual CPUs")
	flags.StringArrayVarP(&f.disks, "disk", "d", nil, "add a disk: an image to use in place, or the size of a new one, such as 4G; repeatable")
	flags.StringArrayVarP(&f.bases, "base", "b", nil, "add a disk that begins as this image, which is not written; repeatable")
	flags.StringArrayVarP(&f.forwards, "forward", "p", nil, "forward HOST:GUEST, a TCP port of this host to one of the guest; HOST 0: a free one; repeatable")
	flags.StringVar(&f.kernel, "kernel", "", "boot this kernel")
	flags.StringVar(&f.accel, "accel", "", "auto, kvm or tcg")
	flags.StringVar(&f.backend, "backend", "", "what runs the VM: process, or a libvirt host of --libvirt; any: whichever of these has room")
	flags.StringToStringVarP(&f.labels, "label", "l", nil, "set a label, as key=value; repeatable")
	complete(cmd, "accel", words("auto", "kvm", "tcg"))
}

// config reads the files and applies the flags.
func (f *configFlags) config(files []string) (vm.Config, error) {
	cfg, err := vm.LoadConfig(files...)
	if err != nil {
		return cfg, err
	}
	var problems []errors.Problem
	wrong := func(flag, value string, err error) {
		problems = append(problems, errors.Problem{Field: "--" + flag, Value: value, Message: err.Error()})
	}
	set(&cfg.Name, f.name)
	set(&cfg.Boot.Kernel, pathOf(f.kernel))
	set(&cfg.Accel, f.accel)
	set(&cfg.Backend, f.backend)
	if f.memory != "" {
		if cfg.Memory, err = vm.ParseSize(f.memory); err != nil {
			wrong("memory", f.memory, err)
		}
	}
	if f.cpus != 0 {
		cfg.CPU.Count = f.cpus
	}
	for _, d := range f.disks {
		cfg.Disks = append(cfg.Disks, diskOf(d))
	}
	for _, b := range f.bases {
		cfg.Disks = append(cfg.Disks, vm.Disk{Base: pathOf(b)})
	}
	for _, text := range f.forwards {
		fwd, err := parseForward(text)
		if err != nil {
			wrong("forward", text, err)
			continue
		}
		addForward(&cfg, fwd)
	}
	for k, v := range f.labels {
		if cfg.Labels == nil {
			cfg.Labels = map[string]string{}
		}
		cfg.Labels[k] = v
	}
	if len(problems) > 0 {
		return cfg, &errors.ConfigError{VM: cfg.Name, Problems: problems}
	}
	return cfg, nil
}

func set(field *string, value string) {
	if value != "" {
		*field = value
	}
}

// pathOf is a path that means the same in whatever folder the VM is started.
func pathOf(path string) string {
	if path == "" || path == "auto" {
		return path
	}
	if abs, err := filepath.Abs(path); err == nil { // fails where this folder is gone
		return abs
	}
	return path
}

// diskOf reads what --disk takes. What can be a size is one: an image that is called "4G"
// is "./4G".
func diskOf(text string) vm.Disk {
	if size, err := vm.ParseSize(text); err == nil {
		return vm.Disk{Size: size}
	}
	return vm.Disk{Path: pathOf(text)}
}

// parseForward reads HOST:GUEST.
func parseForward(text string) (vm.Forward, error) {
	host, guest, ok := strings.Cut(text, ":")
	from, err := strconv.Atoi(host)
	to, err2 := strconv.Atoi(guest)
	if !ok || err != nil || err2 != nil {
		return vm.Forward{}, fmt.Errorf("%q is not two ports, as in 2222:22", text)
	}
	return vm.Forward{Port: from, Guest: to}, nil
}

// addForward adds to the first user network, or makes one.
func addForward(cfg *vm.Config, f vm.Forward) {
	for i, n := range cfg.Networks {
		if n.Type == "" || n.Type == vm.NetworkUser {
			cfg.Networks[i].Forwards = append(cfg.Networks[i].Forwards, f)
			return
		}
	}
	cfg.Networks = append(cfg.Networks, vm.Network{Forwards: []vm.Forward{f}})
}

// persistent makes a VM outlive this process, unless its file says otherwise: then it
// can't be recorded by a process that ends at once.
func persistent(cfg *vm.Config) error {
	if cfg.Lifetime == vm.Ephemeral {
		return &errors.ConfigError{VM: cfg.Name, Problems: []errors.Problem{{
			Field: "lifetime", Value: string(vm.Ephemeral), Message: "would end the VM with this command",
			Fix: "leave lifetime out, or use 'maqetctl run', which stays as long as the VM"}}}
	}
	cfg.Lifetime = vm.Persistent
	return nil
}
