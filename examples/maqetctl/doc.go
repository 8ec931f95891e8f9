// Command maqetctl defines, starts, watches and clears away VMs from a shell.
//
// It is an example of a program on package maqet, made of its public API only, and a tool
// to work with. docs/maqetctl.md describes it to its users: commands, exit codes, the
// fields of --json.
//
// # How it is made
//
// main sets up what a process has, and run does the rest: it takes arguments and streams,
// and returns the exit code, so that tests call it as a function. An app is one
// invocation. Each command is a method that returns a *cobra.Command, in a file that is
// called as the command; [app.with] wraps what it does with an open Maqet, the time limit
// and the end. Commands write what they found with [app.show], as a table or as JSON, and
// return errors; exit.go has the one place that turns an error into an exit code,
// failure.go the one that prints it.
//
// # VMs outlive it
//
// A process of maqetctl ends at once, and an ephemeral VM ends with the process that
// started it. So add and apply make persistent VMs, and only run, which stays as long as
// its VM, an ephemeral one.
package main
