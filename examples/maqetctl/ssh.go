package main

import (
	"context"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/crypto/ssh"

	"github.com/maqet/maqet"
	"github.com/maqet/maqet/guest"
)

// sshFlags say how to get in.
type sshFlags struct {
	user     string
	port     int
	identity string
}

func (a *app) sshCommand() *cobra.Command {
	var flags sshFlags
	var program execFlags
	cmd := &cobra.Command{
		Use:   "ssh VM [--] PROGRAM [ARGUMENT...]",
		Short: "Run a program in a guest by way of its ssh server, as any user",
		Long: "Run a program in a guest by way of its ssh server, which has to be reached by a\n" +
			"forward to its port. Without --identity a new key is made, and brought in by the\n" +
			"guest's agent. It waits until the server lets it in. No shell of yours is involved.\n\n" + execHelp,
		Example:           "  maqetctl ssh --user debian web -- systemctl is-system-running",
		Args:              cobra.MinimumNArgs(2),
		ValidArgsFunction: a.vmNames(1),
		Annotations:       map[string]string{guestCodes: "yes"},
		RunE: a.with(func(ctx context.Context, m *maqet.Maqet, args []string) error {
			options, err := flags.options()
			if err != nil {
				return err
			}
			connection, err := m.Guest.SSH(ctx, args[0], options...)
			if err != nil {
				return err
			}
			err = a.exec(ctx, args[1:], program, connection.Exec)
			return joined(err, connection.Close())
		}),
	}
	cmd.Flags().SetInterspersed(false) // what follows the VM's name is the program's
	cmd.Flags().StringVarP(&flags.user, "user", "u", "root", "who to log in as")
	cmd.Flags().IntVar(&flags.port, "port", 22, "the server's port in the guest")
	cmd.Flags().StringVar(&flags.identity, "identity", "", "file with a private key, without a passphrase, to log in with")
	program.add(cmd)
	return cmd
}

func (f sshFlags) options() ([]guest.SSHOption, error) {
	options := []guest.SSHOption{guest.WithUser(f.user), guest.WithPort(f.port)}
	if f.identity == "" {
		return options, nil
	}
	data, err := os.ReadFile(f.identity)
	if err != nil {
		return nil, err
	}
	key, err := ssh.ParsePrivateKey(data)
	if err != nil {
		return nil, usagef("--identity %s: %w", f.identity, err)
	}
	return append(options, guest.WithKey(key)), nil
}
