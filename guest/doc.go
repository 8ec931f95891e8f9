// Package guest works inside running VMs: it runs programs, reads and writes files,
// copies trees, reads the console, and waits until a guest is ready.
//
// [Manager] is the one way in. It owns the sessions that this process has with
// guests, opens them when they are first needed, and shares each among all callers.
//
// # Two ways in
//
// The default guest's init speaks package guest/wire over a channel of its own: the
// result of a program arrives when it exits, its output while it runs, and a file
// tree is one stream. Every other guest needs the QEMU guest agent ("apt-get install
// qemu-guest-agent" in the guest), with its own limits: a program's output comes when
// it has ended, at most 16 MiB of it, and its end is found by asking again and again,
// from every millisecond at first to every 50 ms. Callers see no other difference.
//
// # Guests that end
//
// Every call also watches the guest. If QEMU exits or the kernel panics, the call
// ends at once with that as its error; while a guest has yet to answer for the first
// time, also if it falls silent.
package guest
