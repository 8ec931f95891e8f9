// Package qapi has QEMU's commands and events as Go functions and types, named as QEMU
// names them (QEMU QMP Reference Manual, which says what each does in full).
//
// # Commands
//
// A command is a function on a [qmp.Executor]: a *qmp.Client, or what
// [qmp.Manager.On] returns, whose policy then applies. query-block is
//
//	disks, err := qapi.QueryBlock(ctx, client)
//
// Few arguments are parameters, with zero values for what is optional; more are a struct.
// In structs the zero value stands for an argument that is not given; where zero itself
// means something the field is a pointer: new(false), new(int64(0)).
//
// Errors are those of [qmp.Conn].Execute; what QEMU refuses is an *errors.QMPError. An
// answer that does not fit is errors.ErrQMP. All functions are safe for concurrent use.
// None of them waits for more than QEMU's answer: where that means only "begun", the
// comment names the event that says "done".
//
// # Events
//
// An event's payload is a type such as [ShutdownEvent]. [Await] waits for one, [As]
// takes one out of a [qmp.Event], and [Decode] any.
//
// # Versions
//
// The types are those of QEMU 10.0. What 7.2 lacks has the version that brought it in
// its comment; an older QEMU refuses such an argument, and leaves such a member out of
// its answers. A newer QEMU's additions do no harm: enumerations are strings that can
// have values without a constant, and unknown members are ignored.
//
// # Unions
//
// A union whose members lie flat in one object is one struct with the members of all
// its branches, such as [SocketAddress]. A union of the form {"type": ..., "data": ...}
// has Type and Data, whose comment lists the types of Data, such as [InputEvent]. What
// has more kinds than anyone would write down, such as [BlockdevOptions] and
// [DeviceAddArgs], has fields for the common members and Props for the rest.
package qapi
