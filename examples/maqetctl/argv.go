package main

import (
	"context"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/maqet/maqet"
	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/vm"
)

// argvShown is the command line of a VM's QEMU.
type argvShown struct {
	Name string   `json:"name"`
	Args []string `json:"args"`
}

func (a *app) argvCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "argv VM",
		Short:             "Print the QEMU command line that a VM runs with, or ran with last",
		Long:              "Print the QEMU command line that a VM runs with, or ran with last, quoted for a shell.",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.vmNames(1),
		RunE: a.with(func(ctx context.Context, m *maqet.Maqet, refs []string) error {
			inst, err := m.VM.Get(ctx, refs[0])
			if err != nil {
				return err
			}
			args, err := argvOf(inst)
			if err != nil {
				return err
			}
			return a.show(argvShown{inst.Name, args}, func(w io.Writer) error {
				_, err := io.WriteString(w, quoted(args)+"\n")
				return err
			})
		}),
	}
}

// argvOf is the command line of the last start. A VM that was never started has none.
func argvOf(inst vm.Instance) ([]string, error) {
	if len(inst.Runtime.Args) == 0 {
		return nil, &errors.Error{Kind: errors.ErrVMNotRunning, Op: "show the command line of VM", VM: inst.Name, Msg: "it was never started"}
	}
	return inst.Runtime.Args, nil
}

// quoted joins arguments so that a shell takes them apart again (POSIX, Shell Command
// Language, "Single-Quotes").
func quoted(args []string) string {
	out := make([]string, len(args))
	for i, arg := range args {
		out[i] = arg
		if arg == "" || strings.ContainsFunc(arg, special) {
			out[i] = "'" + strings.ReplaceAll(arg, "'", `'\''`) + "'"
		}
	}
	return strings.Join(out, " ")
}

func special(r rune) bool {
	return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_=+,.:/@%", r))
}
