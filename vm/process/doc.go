// Package process runs guests as QEMU child processes. Its [Backend] implements
// vm.Backend.
//
// The way of a start, one file each: a validated specification becomes arguments
// (spec.go, devices.go, disks.go), these a command line (argv.go); the process is
// launched with its sockets already listening (launch.go, sockets.go) and watched by a
// pidfd (process.go); a guest (guest.go) speaks to it over channels that are claimed by
// lock files (channels.go), and another process finds it again (attach.go).
//
// # Death of the owner
//
// An ephemeral guest is killed by the kernel when the process that started it ends,
// however it ends (prctl(2), PR_SET_PDEATHSIG). Persistent guests go on.
package process
