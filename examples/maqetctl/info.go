package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/maqet/maqet"
	"github.com/maqet/maqet/guest"
	"github.com/maqet/maqet/vm"
)

// vmInfo is a VM in some detail: 'info' is for people, 'inspect' has everything.
type vmInfo struct {
	vmStatus
	Console string            `json:"console,omitempty"` // file with what the console printed
	Stderr  string            `json:"stderr,omitempty"`  // file with QEMU's stderr
	Dir     string            `json:"dir,omitempty"`     // folder of the sockets
	Sockets map[string]string `json:"sockets,omitempty"`
	Disks   []vm.Image        `json:"disks,omitempty"`
	Plugged []string          `json:"plugged,omitempty"` // devices that were plugged while it ran
	Guest   *guestInfo        `json:"guest,omitempty"`   // what the guest says of itself, where it answers
}

type guestInfo struct {
	Hostname   string           `json:"hostname"`
	OS         string           `json:"os"`
	Kernel     string           `json:"kernel"`
	Machine    string           `json:"machine"`
	Interfaces []guestInterface `json:"interfaces"`
}

type guestInterface struct {
	Name      string   `json:"name"`
	MAC       string   `json:"mac"`
	Addresses []string `json:"addresses"`
}

func (a *app) infoCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "info VM",
		Short:             "Show a VM, its files, ports and devices, and what its guest says of itself",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.vmNames(1),
		RunE: a.with(func(ctx context.Context, m *maqet.Maqet, refs []string) error {
			list, err := find(ctx, m, refs)
			if err != nil {
				return err
			}
			info := infoOf(ctx, m, mended(ctx, m, list)[0])
			return a.show(info, func(w io.Writer) error { return info.print(w) })
		}),
	}
}

func infoOf(ctx context.Context, m *maqet.Maqet, inst vm.Instance) vmInfo {
	info := vmInfo{vmStatus: statusOf(ctx, m, inst), Console: inst.Runtime.Console, Stderr: inst.Runtime.Stderr, Disks: inst.Runtime.Disks}
	if inst.State.Live() {
		info.Dir, info.Sockets = inst.Runtime.Dir, inst.Runtime.Sockets
	}
	for _, d := range inst.Plugged {
		info.Plugged = append(info.Plugged, d.ID)
	}
	if info.Agent != "answers" {
		return info
	}
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	if said, err := m.Guest.Info(ctx, inst.ID); err == nil {
		info.Guest = guestInfoOf(said)
	}
	return info
}

func guestInfoOf(said guest.Info) *guestInfo {
	g := &guestInfo{Hostname: said.Hostname, OS: ifEmpty(said.OSName, said.OS), Kernel: said.Kernel, Machine: said.Machine}
	for _, i := range said.Interfaces {
		g.Interfaces = append(g.Interfaces, guestInterface(i))
	}
	return g
}

func (i vmInfo) print(w io.Writer) error {
	list := [][2]string{
		{"name", i.Name}, {"id", i.ID}, {"state", string(i.State) + reasonText(i.Reason)}, {"lifetime", string(i.Lifetime)},
		{"memory", vm.Size(i.Memory).String()}, {"cpus", fmt.Sprint(i.CPUs)}, {"machine", i.Machine}, {"accel", i.Accel},
		{"labels", labelsText(i.Labels)},
	}
	if i.PID != 0 {
		list = append(list, [2]string{"pid", fmt.Sprint(i.PID)}, [2]string{"qemu", i.QEMU}, [2]string{"agent", i.Agent})
	}
	for _, f := range i.Forwards {
		list = append(list, [2]string{"forward", strings.TrimPrefix(forwardsText([]forwardShown{f}), ", ")})
	}
	for _, d := range i.Disks {
		list = append(list, [2]string{"disk", d.Name + " " + d.Path})
	}
	list = append(list, [2]string{"plugged", strings.Join(i.Plugged, ", ")}, [2]string{"console", i.Console}, [2]string{"stderr", i.Stderr},
		[2]string{"sockets", i.Dir})
	if g := i.Guest; g != nil {
		list = append(list, [2]string{"guest", g.Hostname}, [2]string{"os", g.OS}, [2]string{"kernel", g.Kernel + " " + g.Machine})
		for _, n := range g.Interfaces {
			list = append(list, [2]string{"address", n.Name + " " + strings.Join(n.Addresses, " ")})
		}
	}
	return pairs(list...)(w)
}

func reasonText(reason string) string {
	if reason == "" {
		return ""
	}
	return " (" + reason + ")"
}

func (a *app) inspectCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "inspect VM...",
		Short:             "Print all that is recorded of VMs, as JSON",
		Long:              "Print all that is recorded of VMs as a JSON array, with or without --json. The\nfields are those of vm.Instance.",
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: a.vmNames(0),
		RunE: a.with(func(ctx context.Context, m *maqet.Maqet, refs []string) error {
			list, err := find(ctx, m, refs)
			if err != nil {
				return err
			}
			a.json = true
			return a.show(list, nil)
		}),
	}
}
