// Package maqet runs QEMU guests: it defines them, boots them, works in them and
// leaves nothing behind.
//
//	m, err := maqet.New()
//	if err != nil { ... }
//	defer m.Close()
//	vm, err := m.Run(ctx, vm.Config{}) // boots Linux
//	if err != nil { ... }
//	res, err := vm.Exec(ctx, "uname", "-r")
//
// [New] wires one manager for each domain, and the fields of [Maqet] give them out:
// package vm has the machines and their states, qmp the control channel, guest what
// runs inside, storage the disk images, cleanup stops many at once. [Machine] is a
// handle to one VM for people who hold one.
//
// In tests, package maqettest boots a guest in one line and clears it away.
//
// # Lifetimes
//
// A guest is ephemeral unless its Config says otherwise: it dies with the process
// that started it, however that dies, SIGKILL included. A persistent one goes on, and
// the next process that asks for it adopts it.
//
// # Errors
//
// Every error has a kind that errors.Is finds, narrow and broad, and carries its
// evidence: see package errors.
package maqet
