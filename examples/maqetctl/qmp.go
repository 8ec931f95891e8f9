package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"slices"

	"github.com/spf13/cobra"

	"github.com/maqet/maqet"
	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/qmp"
)

func (a *app) qmpCommand() *cobra.Command {
	var allow, human bool
	cmd := &cobra.Command{
		Use:   "qmp VM COMMAND [JSON | KEY=VALUE... | -]",
		Short: "Send a command to QEMU, and print its answer",
		Long: "Send a QMP command to QEMU, and print what it returns as JSON. Arguments are a JSON\n" +
			"object, '-' for one on standard input, or KEY=VALUE pairs: the values get the types\n" +
			"that this QEMU says the command takes, KEY.KEY=VALUE is a member of a member, and\n" +
			"KEY:=JSON is taken as it is.\n\n" +
			"Commands that name files of the host, run programs or end QEMU are denied without\n" +
			"--allow.",
		Example: "  maqetctl qmp web query-status\n  maqetctl qmp web set_link name=net0 up=false\n  maqetctl qmp web qom-get path=/machine property=type\n" +
			"  maqetctl qmp --hmp --allow web 'info mtree'",
		Args:              cobra.MinimumNArgs(2),
		ValidArgsFunction: a.qmpWords,
		RunE: a.with(func(ctx context.Context, m *maqet.Maqet, args []string) error {
			if allow {
				ctx = qmp.AllowDangerous(ctx)
			}
			if human {
				return permitted(a.hmp(ctx, m, args))
			}
			arguments, err := a.arguments(ctx, m, args[0], args[1], args[2:])
			if err != nil {
				return err
			}
			answer, err := m.QMP.Execute(ctx, args[0], args[1], arguments)
			if err != nil {
				return permitted(err)
			}
			return a.answer(answer)
		}),
	}
	cmd.Flags().BoolVar(&allow, "allow", false, "also send a command that can harm the host or the VM")
	cmd.Flags().BoolVar(&human, "hmp", false, "COMMAND is a line for QEMU's human monitor; needs --allow")
	return cmd
}

// permitted says what to do about a command that is denied.
func permitted(err error) error {
	if errors.Is(err, errors.ErrQMPDenied) {
		return &deniedError{"this command can harm the host or end the VM: give --allow if you mean it"}
	}
	return err
}

// answer prints what QEMU returned: it is JSON anyway.
func (a *app) answer(answer json.RawMessage) error {
	var out bytes.Buffer
	if err := json.Indent(&out, answer, "", "  "); err != nil {
		return err
	}
	out.WriteByte('\n')
	_, err := a.out.Write(out.Bytes())
	return err
}

func (a *app) hmp(ctx context.Context, m *maqet.Maqet, args []string) error {
	if len(args) > 2 {
		return usagef("a line for the human monitor is one argument: quote it")
	}
	text, err := m.QMP.HMP(ctx, args[0], args[1])
	if err != nil {
		return err
	}
	return a.logText(args[0], text)
}

// arguments reads a command's arguments; nil when there are none.
func (a *app) arguments(ctx context.Context, m *maqet.Maqet, ref, command string, words []string) (any, error) {
	switch {
	case len(words) == 0:
		return nil, nil
	case len(words) == 1 && words[0] == "-":
		in, stop, err := a.stdin(ctx)
		if err != nil {
			return nil, err
		}
		data, err := io.ReadAll(in)
		if err = joined(err, stop()); err != nil {
			return nil, err
		}
		return jsonObject(data)
	case len(words) == 1 && len(words[0]) > 0 && words[0][0] == '{':
		return jsonObject([]byte(words[0]))
	}
	schema, err := m.QMP.Schema(ctx, ref)
	if err != nil {
		return nil, err
	}
	return pairArguments(schema, command, words)
}

func jsonObject(data []byte) (any, error) {
	var object map[string]json.RawMessage
	if err := json.Unmarshal(data, &object); err != nil {
		return nil, usagef("the arguments are no JSON object: %w", err)
	}
	return object, nil
}

// qmpWords completes the VM's name, and then QEMU's commands.
func (a *app) qmpWords(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	if len(args) != 1 {
		return a.vmNames(1)(cmd, args, typed)
	}
	m, err := a.open()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	defer func() { _ = m.Close() }()
	schema, err := m.QMP.Schema(cmd.Context(), args[0])
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	commands := slices.DeleteFunc(schema.Commands(), func(c string) bool { return len(c) < len(typed) || c[:len(typed)] != typed })
	return commands, cobra.ShellCompDirectiveNoFileComp
}
