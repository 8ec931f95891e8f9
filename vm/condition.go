package vm

import "context"

// Condition is something to wait for before a start counts as done. Package guest
// has them: agent answers, console text, file exists, command succeeds, and their
// combinations.
//
// A wait for a condition always also watches the guest: if QEMU exits, the kernel
// panics or nothing gives a sign of life, it ends with that.
type Condition interface {
	// Wait returns when the condition holds for the VM, or with the reason why it
	// never will, or with ctx's error.
	Wait(ctx context.Context, ref string) error
	// String names the condition for messages: "agent answers".
	String() string
}
