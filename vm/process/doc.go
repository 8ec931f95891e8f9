// Package process runs guests as QEMU child processes. Its [Backend] implements
// vm.Backend.
//
// The way of a start, one file each: a validated specification becomes options (spec.go,
// devices.go), these a command line (argv.go) for what this host and its QEMU can do
// (host.go, features.go, kvm.go); the process is executed with its sockets already
// listening (launch.go, sockets.go) and watched by a pidfd (process.go); a guest
// (guest.go, ladder.go) speaks to it over channels (channels.go), and another process
// finds it again (attach.go).
//
// # Lifetimes
//
// An ephemeral guest is killed by the kernel when the process that started it ends,
// however it ends (prctl(2), PR_SET_PDEATHSIG; thread.go says why that takes a thread of
// its own). [Backend.Close] kills it, too.
//
// A persistent guest goes on, and any process of the same user can attach to it. One
// that ends after the backend of its first owner was closed stays a zombie for as long
// as that process runs, since only a parent can reap: it counts as gone all the same.
//
// # Channels
//
// The backend makes the guest's sockets, and QEMU inherits them listening, so that
// nobody ever waits for one to appear: four QMP monitors, and one socket each for the
// first serial port, the agent, the streams of maqet's own init, and those further serial
// ports that are to have one here. A display's socket QEMU makes itself. QEMU serves one
// client a socket, so a client holds the lock file beside it; the lock ends with the
// connection, or with the client's process. Three processes keep a monitor each;
// those that come later share the fourth in turns, and miss the events between theirs.
//
// # Files
//
// Sockets and their locks lie in RuntimeDir, in a folder named by the beginning of the
// VM's ID; [Backend.Clean] removes them. LogDir has a folder with the whole ID:
// console.log is what the first serial port printed since the last start, qemu.log what
// QEMU printed; [Backend.Erase] removes them. Folders have mode 0700, files and sockets
// 0600. A file of somebody else in these folders is never touched.
//
// # Identity
//
// A process is a VM's QEMU when its PID, start time and boot are the recorded ones and
// its command line has the VM's UUID. A pidfd holds it while this is looked at and as
// long as the guest is used, so that no signal ever reaches another process that got
// the PID. Without a record, because the owner died before it could write one, the UUID
// in the command lines of this user's processes tells.
//
// # Templates and forks
//
// A guest that can be a template has its RAM in a file in memory that this process makes and
// QEMU inherits (memory.go); a fork maps its template's privately, so that what it changes is
// its own and all else is shared, and waits for the state of the devices. Both call their RAM
// what the machine itself calls it: saved states know it by that name, so that one which has
// the memory with it fits guests of either kind.
//
// A state fits the machine that was saved and no other, and QEMU would notice only some of
// what differs. So a machine has a fingerprint (fingerprint.go): its command line without
// what each guest has of its own, and the build of QEMU.
//
// # Time-outs
//
// [Backend.Timeouts] gives four times as long where there is no KVM.
package process
