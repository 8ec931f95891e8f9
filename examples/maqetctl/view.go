package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/maqet/maqet/vm"
)

// vmShown is a VM as 'ls', 'status' and 'wait' print it.
type vmShown struct {
	Name     string            `json:"name"`
	ID       string            `json:"id"`
	State    vm.State          `json:"state"`
	Reason   string            `json:"reason,omitempty"`
	Lifetime vm.Lifetime       `json:"lifetime"`
	Memory   int64             `json:"memory"` // bytes
	CPUs     int               `json:"cpus"`
	PID      int               `json:"pid,omitempty"`     // of QEMU, while it is live
	Accel    string            `json:"accel,omitempty"`   // of the last start
	Machine  string            `json:"machine,omitempty"` // of the last start
	Forwards []forwardShown    `json:"forwards,omitempty"`
	Labels   map[string]string `json:"labels,omitempty"`
	Created  time.Time         `json:"created"`
	Changed  time.Time         `json:"changed"` // when the state, or anything else, changed last
}

type forwardShown struct {
	Network string `json:"network"`
	Host    string `json:"host"`
	Port    int    `json:"port"`
	Guest   int    `json:"guest"`
	Proto   string `json:"proto"`
}

func shown(inst vm.Instance) vmShown {
	s := vmShown{
		Name: inst.Name, ID: inst.ID, State: inst.State, Reason: inst.Reason,
		Lifetime: vm.Ephemeral, Memory: int64(memoryOf(inst.Config)), CPUs: inst.Config.CPU.Vcpus(),
		Accel: inst.Runtime.Accel, Machine: inst.Runtime.Machine, Labels: inst.Config.Labels,
		Created: inst.Created, Changed: inst.Changed,
	}
	if inst.Config.Lifetime != "" {
		s.Lifetime = inst.Config.Lifetime
	}
	if inst.State.Live() {
		s.PID, s.Forwards = inst.Runtime.Process.PID, forwardsOf(inst)
	}
	return s
}

func memoryOf(c vm.Config) vm.Size {
	if c.Memory == 0 {
		return vm.DefaultMemory
	}
	return c.Memory
}

// forwardsOf lists the ports that lead into the guest, with those that were chosen.
func forwardsOf(inst vm.Instance) []forwardShown {
	var list []forwardShown
	for i, n := range inst.Config.Networks {
		forwards, chosen := inst.Runtime.Forwards[n.NameAt(i)]
		if !chosen {
			forwards = n.Forwards
		}
		for _, f := range forwards {
			s := forwardShown{Network: n.NameAt(i), Host: f.Host, Port: f.Port, Guest: f.Guest, Proto: f.Proto}
			set(&s.Host, ifEmpty(f.Host, "127.0.0.1"))
			set(&s.Proto, ifEmpty(f.Proto, "tcp"))
			list = append(list, s)
		}
	}
	return list
}

func ifEmpty(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// forwardsText is empty, or begins with ", ".
func forwardsText(list []forwardShown) string {
	var b strings.Builder
	for _, f := range list {
		fmt.Fprintf(&b, ", %s:%d -> %d/%s", f.Host, f.Port, f.Guest, f.Proto)
	}
	return b.String()
}

// ago is how long something is ago, in one unit.
func ago(t time.Time) string {
	d := time.Since(t)
	switch {
	case d < 2*time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < 2*time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}

func labelsText(labels map[string]string) string {
	var list []string
	for k, v := range labels {
		list = append(list, k+"="+v)
	}
	slices.Sort(list)
	return strings.Join(list, ",")
}
