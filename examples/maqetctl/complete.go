package main

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/maqet/maqet/vm"
)

// completion says what can stand where the shell asks.
type completion = func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective)

// vmNames completes arguments by the names of recorded VMs: the first limit arguments, or
// all for 0. What comes after them are files.
func (a *app) vmNames(limit int) completion {
	return func(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
		if limit > 0 && len(args) >= limit {
			return nil, cobra.ShellCompDirectiveDefault
		}
		list := a.recorded(cmd)
		var names []string
		for _, inst := range list {
			if strings.HasPrefix(inst.Name, typed) && !slices.Contains(args, inst.Name) {
				names = append(names, inst.Name+"\t"+string(inst.State))
			}
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}

// recorded lists the VMs for completion, which has no way to report an error.
func (a *app) recorded(cmd *cobra.Command) []vm.Instance {
	m, err := a.open()
	if err != nil {
		return nil
	}
	defer func() { _ = m.Close() }()
	list, err := m.VM.List(cmd.Context(), vm.Filter{})
	if err != nil {
		return nil
	}
	return list
}

// words completes a flag by fixed words.
func words(list ...string) completion {
	return func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return list, cobra.ShellCompDirectiveNoFileComp
	}
}

func stateWords() completion {
	return words(string(vm.Created), string(vm.Starting), string(vm.Running), string(vm.Paused), string(vm.Stopping),
		string(vm.Stopped), string(vm.Failed))
}

// complete makes the shell complete a flag. cobra refuses only flags that are not there,
// which the tests would show.
func complete(cmd *cobra.Command, flag string, with completion) {
	_ = cmd.RegisterFlagCompletionFunc(flag, with)
}
