package qmp

import (
	"context"
	"strconv"
)

// Class says how much harm a command can do. The list is [ClassOf].
type Class int

const (
	// ReadOnly commands ask.
	ReadOnly Class = iota
	// Normal commands change the guest as its user could: keys, pause, block jobs.
	Normal
	// Privileged commands change what the guest is: devices, properties, snapshots,
	// reset. Commands that are not in the list count as privileged.
	Privileged
	// Dangerous commands can run programs on the host, open host files or ports whose
	// names they carry, or end the VM behind the back of its state machine.
	Dangerous
)

// String returns "read-only", "normal", "privileged" or "dangerous".
func (c Class) String() string {
	switch c {
	case ReadOnly:
		return "read-only"
	case Normal:
		return "normal"
	case Privileged:
		return "privileged"
	case Dangerous:
		return "dangerous"
	}
	return "class " + strconv.Itoa(int(c))
}

// Decision is what a [Policy] says about a command.
type Decision int

const (
	// ByDefault stands for the class's default: read-only and normal commands are
	// allowed, privileged ones audited, dangerous ones denied.
	ByDefault Decision = iota
	// Allow executes the command; the log has it at level debug.
	Allow
	// Audit executes the command and logs it at level info.
	Audit
	// Deny refuses the command with errors.ErrQMPDenied and logs it at level warn.
	Deny
)

// Policy decides which commands a [Manager] executes. Its zero value is the default
// policy. A Policy must not be changed while a Manager has it.
type Policy struct {
	ReadOnly   Decision // ByDefault: Allow
	Normal     Decision // ByDefault: Allow
	Privileged Decision // ByDefault: Audit
	Dangerous  Decision // ByDefault: Deny
	// Classes puts single commands into another class than [ClassOf] does.
	Classes map[string]Class
}

// Class returns the command's class: that of Classes, else of [ClassOf].
func (p Policy) Class(command string) Class {
	if c, ok := p.Classes[command]; ok {
		return c
	}
	return ClassOf(command)
}

// Decide returns what the policy says about commands of class c. It is never ByDefault.
func (p Policy) Decide(c Class) Decision {
	d, normally := Deny, Deny
	switch c {
	case ReadOnly:
		d, normally = p.ReadOnly, Allow
	case Normal:
		d, normally = p.Normal, Allow
	case Privileged:
		d, normally = p.Privileged, Audit
	case Dangerous:
		d, normally = p.Dangerous, Deny
	}
	if d == ByDefault {
		return normally
	}
	return d
}

type allowKey struct{}

// AllowDangerous returns a context under which dangerous commands are executed and
// audited even where the policy denies them. Other classes are as the policy says.
func AllowDangerous(ctx context.Context) context.Context {
	return context.WithValue(ctx, allowKey{}, true)
}

func dangerousAllowed(ctx context.Context) bool {
	allowed, _ := ctx.Value(allowKey{}).(bool)
	return allowed
}
