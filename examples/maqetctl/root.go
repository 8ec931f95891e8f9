package main

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/maqet/maqet/errors"
)

// Groups of commands in --help.
const (
	groupLife    = "life"
	groupLook    = "look"
	groupGuest   = "guest"
	groupMachine = "machine"
	groupKeep    = "keep"
	groupHost    = "host"
)

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "maqetctl",
		Short: "Define, start, watch and clear away QEMU guests",
		Long: "maqetctl defines, starts, watches and clears away QEMU guests.\n\n" +
			"VM is everywhere a VM's name or its ID.\n\n" + exitHelp() + "\n" + envHelp,
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE:          needsCommand,
		Args:          cobra.NoArgs,
	}
	flags := root.PersistentFlags()
	flags.StringVar(&a.dir, "dir", "", "folder of records, disks, logs and sockets (default $"+envDir+", else the user's XDG folders)")
	flags.StringArrayVar(&a.libvirt, "libvirt", nil, "libvirt `[NAME=]URI` whose hosts VMs can be on (default $"+envLibvirt+"); may be repeated")
	flags.BoolVar(&a.json, "json", false, "print JSON, errors too")
	flags.BoolVarP(&a.yes, "yes", "y", false, "don't ask before something is destroyed")
	flags.DurationVar(&a.timeout, "timeout", 0, "give up after this time, such as 90s; 0: after the times that the VM's configuration has")
	flags.BoolVarP(&a.verbose, "verbose", "v", false, "log to stderr what is done")
	for _, g := range []*cobra.Group{
		{ID: groupLife, Title: "The life of VMs:"}, {ID: groupLook, Title: "Looking at VMs:"},
		{ID: groupGuest, Title: "Working in the guest:"}, {ID: groupMachine, Title: "Working the machine:"},
		{ID: groupKeep, Title: "Keeping what is, and going back:"},
		{ID: groupHost, Title: "This host:"},
	} {
		root.AddGroup(g)
	}
	a.add(root, groupLife, a.addCommand(), a.applyCommand(), a.startCommand(), a.runCommand(), a.forkCommand(), a.stopCommand(), a.rmCommand())
	a.add(root, groupLook, a.lsCommand(), a.statusCommand(), a.infoCommand(), a.inspectCommand(), a.waitCommand(), a.watchCommand(),
		a.eventsCommand(), a.logsCommand(), a.argvCommand())
	a.add(root, groupGuest, a.execCommand(), a.sshCommand(), a.cpCommand(), a.consoleCommand())
	a.add(root, groupMachine, a.pauseCommand(), a.resumeCommand(), a.resetCommand(), a.keysCommand(), a.typeCommand(),
		a.screenshotCommand(), a.deviceCommand(), a.linkCommand(), a.qmpCommand())
	a.add(root, groupKeep, a.snapshotCommand(), a.backupCommand(), a.templateCommand())
	a.add(root, groupHost, a.storageCommand(), a.cleanupCommand(), a.doctorCommand())
	return root
}

func (a *app) add(root *cobra.Command, group string, commands ...*cobra.Command) {
	for _, c := range commands {
		c.GroupID = group
		root.AddCommand(c)
	}
}

// needsCommand is what a command that only has others below it does: cobra would print
// its help and count that as success.
func needsCommand(cmd *cobra.Command, args []string) error {
	var names []string
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() {
			names = append(names, c.Name())
		}
	}
	if len(args) > 0 {
		return errors.New("unknown command " + args[0] + "; there are " + strings.Join(names, ", "))
	}
	return errors.New("a command is needed: " + strings.Join(names, ", "))
}

const envHelp = `Environment:
  MAQET_DIR       the default of --dir
  MAQET_LIBVIRT   the default of --libvirt; several are separated by spaces
  MAQET_QEMU      the QEMU binary, for VMs that name none
  MAQET_QEMU_IMG  the program qemu-img
  MAQET_KERNEL    the kernel, for VMs that name none
`
