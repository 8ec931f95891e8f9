// Package qmp talks to QEMU over its machine protocol (QEMU manual, "QEMU Machine
// Protocol Specification").
//
// [Client] is one connection to one QEMU and needs nothing else of maqet but its
// errors: [Dial] a socket, or [Client.Connect] any net.Conn, and Execute commands. Many
// commands can be in flight, each with its own context; one that is given up keeps its
// place, so that a late reply never reaches another caller. Events are delivered to
// any number of subscriptions, each with a bounded queue of its own, and a subscriber
// that does not read delays nobody. A lost connection is one error that every command
// gets, of kind errors.ErrQMPConnection; see [WithCause] for saying why.
//
// [Manager] executes commands on VMs by their name, under a [Policy] that allows,
// audits or denies each by its class. [Manager.AddDevice] and [Manager.RemoveDevice]
// change the devices of a VM that runs.
//
// [Manager.SendKeys] and [Manager.Type] work a VM's keyboard, [Manager.Keyboard] does with
// other layouts and times, [Manager.Mouse] its pointer; [Manager.Screenshot] and
// [Manager.WaitScreen] look at its screen.
//
// [Agent] is the dialect that the guest agent inside a VM speaks.
//
// [AsMonitor] and [FromMonitor] translate to and from the Monitor interface of
// github.com/digitalocean/go-qemu.
//
// Below it, package qapi has QEMU's commands and events as Go functions and types, and
// package qmptest a fake QEMU for tests.
//
// Frames are lines, as QEMU sends them unless a monitor is made with pretty=on, which
// is not understood.
package qmp
