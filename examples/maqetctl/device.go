package main

import (
	"context"
	"encoding/json"
	"io"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/maqet/maqet"
	"github.com/maqet/maqet/qmp"
	"github.com/maqet/maqet/vm"
)

func (a *app) deviceCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "device",
		Short: "Plug devices into running VMs, and take them out",
		RunE:  needsCommand,
	}
	cmd.AddCommand(a.deviceAddCommand(), a.deviceDelCommand(), a.deviceLsCommand())
	return cmd
}

// deviceFlags describe a device.
type deviceFlags struct {
	spec, driver, bus        string
	props                    []string
	disk, format, iface      string
	serial                   string
	readOnly, nic, rng, cpu  bool
	mac                      string
	forwards                 []string
	memory                   string
	port, socket, serialFile string
}

func (f *deviceFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.disk, "disk", "", "a disk: the path of an image")
	flags.StringVar(&f.format, "format", "", "the image's format, raw or qcow2 (default: by the file's ending)")
	flags.StringVar(&f.iface, "interface", "", "what the disk is connected to: virtio, scsi or nvme")
	flags.StringVar(&f.serial, "serial", "", "the disk's serial number")
	flags.BoolVar(&f.readOnly, "read-only", false, "the guest can't write to the disk")
	flags.BoolVar(&f.nic, "nic", false, "a network card on QEMU's user network")
	flags.StringVar(&f.mac, "mac", "", "the card's address")
	flags.StringArrayVarP(&f.forwards, "forward", "p", nil, "forward HOST:GUEST to the card; repeatable")
	flags.BoolVar(&f.rng, "rng", false, "a source of random numbers")
	flags.StringVar(&f.memory, "memory", "", "a memory module of this size")
	flags.BoolVar(&f.cpu, "cpu", false, "a virtual CPU")
	flags.StringVar(&f.port, "serial-port", "", "a virtio serial port of this name")
	flags.StringVar(&f.socket, "socket", "", "unix socket for the serial port")
	flags.StringVar(&f.serialFile, "file", "", "file that gets what the guest writes to the serial port")
	flags.StringVar(&f.driver, "driver", "", "any other device, by QEMU's name for it")
	flags.StringArrayVar(&f.props, "prop", nil, "a property, as KEY=VALUE or KEY:=JSON; repeatable")
	flags.StringVar(&f.bus, "bus", "", "where it goes (default: a free place)")
	flags.StringVar(&f.spec, "spec", "", "the device as a JSON object, with the fields of qmp.Device, instead of other flags")
	cmd.MarkFlagsMutuallyExclusive("disk", "nic", "rng", "memory", "cpu", "serial-port", "spec")
	cmd.MarkFlagsOneRequired("disk", "nic", "rng", "memory", "cpu", "serial-port", "driver", "spec")
	complete(cmd, "interface", words(qmp.DiskVirtio, qmp.DiskSCSI, qmp.DiskNVMe))
	complete(cmd, "format", words(vm.FormatQcow2, vm.FormatRaw))
}

// device is what the flags describe.
func (f *deviceFlags) device(id string) (d qmp.Device, err error) {
	if f.spec != "" {
		err = json.Unmarshal([]byte(f.spec), &d)
		if err != nil {
			return d, usagef("--spec: %w", err)
		}
		d.ID = id
		return d, nil
	}
	d = qmp.Device{ID: id, Driver: f.driver, Bus: f.bus}
	if len(f.props) > 0 {
		if d.Props, err = pairArguments(&qmp.Schema{}, "", f.props); err != nil {
			return d, err
		}
	}
	switch {
	case f.disk != "":
		d.Disk, err = f.hotDisk()
	case f.nic:
		d.NIC, err = f.card()
	case f.rng:
		d.RNG = &qmp.RNG{}
	case f.cpu:
		d.CPU = &qmp.CPU{}
	case f.memory != "":
		var size vm.Size
		size, err = vm.ParseSize(f.memory)
		d.Memory = &qmp.Memory{Size: int64(size)}
	case f.port != "":
		d.Serial, err = f.serialPort()
	}
	if err != nil && exitOf(err) == exitFailure {
		err = &usageError{err: err}
	}
	return d, err
}

func (f *deviceFlags) hotDisk() (*qmp.Disk, error) {
	path, err := filepath.Abs(f.disk)
	return &qmp.Disk{Path: path, Format: ifEmpty(f.format, vm.Disk{Path: path}.ImageFormat()),
		ReadOnly: f.readOnly, Interface: f.iface, Serial: f.serial}, err
}

func (f *deviceFlags) card() (*qmp.NIC, error) {
	card := &qmp.NIC{MAC: f.mac}
	for _, text := range f.forwards {
		fwd, err := parseForward(text)
		if err != nil {
			return nil, err
		}
		card.Forwards = append(card.Forwards, qmp.Forward{Port: fwd.Port, Guest: fwd.Guest})
	}
	return card, nil
}

func (f *deviceFlags) serialPort() (*qmp.SerialPort, error) {
	port := &qmp.SerialPort{Name: f.port}
	for to, path := range map[*string]string{&port.Socket: f.socket, &port.File: f.serialFile} {
		if path == "" {
			continue
		}
		abs, err := filepath.Abs(path) // QEMU has a working folder of its own
		if err != nil {
			return nil, err
		}
		*to = abs
	}
	return port, nil
}

func (a *app) deviceAddCommand() *cobra.Command {
	var flags deviceFlags
	cmd := &cobra.Command{
		Use:   "add VM ID",
		Short: "Plug a device into a running VM",
		Long: "Plug a device into a running VM, under an ID of your choice. The VM has it from\n" +
			"then on, also when it is started again.",
		Example: "  maqetctl device add web data --disk data.qcow2\n  maqetctl device add web lan --nic --forward 8080:80\n" +
			"  maqetctl device add web noise --driver virtio-rng-pci",
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: a.vmNames(1),
		RunE: a.with(func(ctx context.Context, m *maqet.Maqet, args []string) error {
			machine, err := m.Machine(ctx, args[0])
			if err != nil {
				return err
			}
			d, err := flags.device(args[1])
			if err != nil {
				return err
			}
			if err := machine.AddDevice(ctx, d); err != nil {
				return err
			}
			return a.did(deed{machine.Name(), machine.ID(), "plugged " + d.ID})
		}),
	}
	flags.add(cmd)
	return cmd
}

func (a *app) deviceDelCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "del VM ID",
		Aliases: []string{"rm"},
		Short:   "Take a device out of a VM, once its guest has let go",
		Long: "Take a device out of a VM and return once its guest has let go of it. Of a VM that\n" +
			"does not run it is forgotten: the next start comes without it.",
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: a.deviceIDs,
		RunE: a.with(func(ctx context.Context, m *maqet.Maqet, args []string) error {
			machine, err := m.Machine(ctx, args[0])
			if err != nil {
				return err
			}
			if err := machine.RemoveDevice(ctx, args[1]); err != nil {
				return err
			}
			return a.did(deed{machine.Name(), machine.ID(), "took out " + args[1]})
		}),
	}
}

func (a *app) deviceIDs(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	if len(args) == 0 {
		return a.vmNames(1)(cmd, args, typed)
	}
	var ids []string
	for _, inst := range a.recorded(cmd) {
		if inst.Name == args[0] || inst.ID == args[0] {
			for _, d := range devicesOf(inst) {
				ids = append(ids, d.ID)
			}
		}
	}
	return ids, cobra.ShellCompDirectiveNoFileComp
}

// deviceShown is a device that a start of the VM comes with.
type deviceShown struct {
	ID   string `json:"id"`
	Kind string `json:"kind"` // "disk", "network", "share", or QEMU's name of the device
	From string `json:"from"` // "config" or "plugged"
	Bus  string `json:"bus,omitempty"`
}

func (a *app) deviceLsCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "ls VM",
		Short:             "List a VM's disks, network cards and other devices",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.vmNames(1),
		RunE: a.with(func(ctx context.Context, m *maqet.Maqet, args []string) error {
			inst, err := m.VM.Get(ctx, args[0])
			if err != nil {
				return err
			}
			list := devicesOf(inst)
			var rows [][]string
			for _, d := range list {
				rows = append(rows, []string{d.ID, d.Kind, d.From, ifEmpty(d.Bus, "-")})
			}
			return a.show(list, func(w io.Writer) error { return table("ID KIND FROM BUS", rows)(w) })
		}),
	}
}

func devicesOf(inst vm.Instance) []deviceShown {
	gone := map[string]bool{}
	for _, id := range inst.Unplugged {
		gone[id] = true
	}
	list := []deviceShown{}
	configured := func(id, kind string) {
		if !gone[id] {
			list = append(list, deviceShown{ID: id, Kind: kind, From: "config"})
		}
	}
	for i, d := range inst.Config.Disks {
		configured(d.NameAt(i), "disk")
	}
	for i, n := range inst.Config.Networks {
		configured(n.NameAt(i), "network")
	}
	for i, s := range inst.Config.Shares {
		configured(s.NameAt(i), "share")
	}
	for i, d := range inst.Config.Devices {
		configured(d.IDAt(i), d.Driver)
	}
	for _, d := range inst.Plugged {
		list = append(list, deviceShown{d.ID, kindOfDevice(d), "plugged", d.Bus})
	}
	return list
}

func kindOfDevice(d qmp.Device) string {
	switch {
	case d.Disk != nil:
		return "disk"
	case d.NIC != nil:
		return "network"
	}
	return ifEmpty(d.Driver, "device")
}
