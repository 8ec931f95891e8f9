package qmp

import (
	"context"
	"encoding/json"
	"os"
)

// Conn is a control channel to one QEMU with its capabilities negotiated. [Client]
// implements it over a socket, [FromMonitor] over any go-qemu qmp.Monitor. It is
// safe for concurrent use; commands of several goroutines are in flight at once.
type Conn interface {
	// Execute sends a command and waits for its answer. args is nil or marshals to a
	// JSON object. QEMU's own errors are *errors.QMPError. When ctx ends first the error
	// is errors.ErrQMPTimeout and ctx's; the command may still take effect.
	Execute(ctx context.Context, command string, args any) (json.RawMessage, error)
	// Subscribe delivers the named events, or all when none is named, until the
	// subscription is closed or the connection ends.
	Subscribe(names ...string) *Subscription
	// Done is closed when the connection has ended; Err then says why.
	Done() <-chan struct{}
	// Err is nil while the connection works; then one sticky errors.ErrQMPConnection
	// that wraps the cause.
	Err() error
	// Close ends the connection, not QEMU, and waits for its goroutines.
	Close() error
}

// FileConn is a Conn that can pass open files to QEMU; found by a type assertion.
// [Client] is one.
type FileConn interface {
	Conn
	FileExecutor
}

// FileExecutor is an [Executor] that can pass open files. [Client] is one, and what
// [Manager.On] returns.
type FileExecutor interface {
	Executor
	// ExecuteWithFiles is Execute with open files, for getfd and add-fd. QEMU gets
	// duplicates. errors.ErrQMP when the transport has no way to pass files.
	ExecuteWithFiles(ctx context.Context, command string, args any, files ...*os.File) (json.RawMessage, error)
}

// PlainSocket is a net.Conn that embeds a *net.UnixConn or *net.TCPConn and leaves its
// reading and writing alone. [Client.Connect] writes to such a socket without waiting, and
// passes files over it, as it does with the two themselves; of other types it uses only
// the methods of net.Conn.
type PlainSocket interface{ PlainSocket() }

// Holder is a Conn that may be shared with other processes by turns; found by a type
// assertion. Between turns its events are missed: subscriptions get an [EventGap] when a
// turn begins.
type Holder interface {
	Conn
	// Hold keeps the turn until release is called, for commands that belong together
	// and for events that one of them causes. Others wait meanwhile: hold it for as short as
	// can be. Where nothing is shared it costs nothing.
	Hold(ctx context.Context) (release func(), err error)
}

// DeviceNamer is a Conn to a QEMU in which the devices of the VM's configuration have IDs other
// than their names there, because somebody else chooses them; found by a type assertion.
type DeviceNamer interface {
	Conn
	// DeviceID returns the ID in QEMU of the configuration's device called name.
	DeviceID(name string) string
}
