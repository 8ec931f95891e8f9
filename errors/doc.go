// Package errors holds every kind of error that maqet returns, as one tree, and
// the typed errors that carry the evidence.
//
// A kind answers "what sort of failure is this", narrowly or broadly: each kind
// unwraps to its parent, so errors.Is walks from the narrow to the broad.
//
//	errors.Is(err, errors.ErrVMNotFound)  // this VM does not exist
//	errors.Is(err, errors.ErrVMLifecycle) // something about a VM's life
//	errors.Is(err, errors.ErrMaqet)       // anything maqet reports by itself
//
// A typed error answers "what exactly happened" and is found with errors.As:
// [QMPError] has the command and QEMU's class and description, [StartError] the
// step, command line, exit status and the last lines of stderr and console.
//
// Context errors stay visible: errors.Is(err, context.DeadlineExceeded) holds for
// every time-out that a caller's context caused.
//
// The package re-exports Is, As, Join, Unwrap and New of the standard library, so
// that a program needs one import. It imports nothing else of maqet.
package errors
