package qapi

import (
	"context"

	"github.com/maqet/maqet/qmp"
)

// Migrate starts to send the machine to where another QEMU, or [MigrateIncoming], waits
// for it. It returns at once; [QueryMigrate] and [MigrationEvent] tell how it goes.
func Migrate(ctx context.Context, e qmp.Executor, args MigrateArgs) error {
	return run(ctx, e, "migrate", args)
}

// MigrateIncoming lets a QEMU that was started with -incoming defer wait for a machine.
func MigrateIncoming(ctx context.Context, e qmp.Executor, args MigrateIncomingArgs) error {
	return run(ctx, e, "migrate-incoming", args)
}

// MigrateSetCapabilities turns features of migration on and off.
func MigrateSetCapabilities(ctx context.Context, e qmp.Executor, capabilities []MigrationCapabilityStatus) error {
	return run(ctx, e, "migrate-set-capabilities", struct {
		Capabilities []MigrationCapabilityStatus `json:"capabilities"`
	}{capabilities})
}

// QueryMigrateCapabilities lists the features of migration.
func QueryMigrateCapabilities(ctx context.Context, e qmp.Executor) ([]MigrationCapabilityStatus, error) {
	return qmp.Do[[]MigrationCapabilityStatus](ctx, e, "query-migrate-capabilities", nil)
}

// MigrateSetParameters sets what is not nil.
func MigrateSetParameters(ctx context.Context, e qmp.Executor, args MigrateSetParametersArgs) error {
	return run(ctx, e, "migrate-set-parameters", args)
}

// QueryMigrateParameters returns the parameters of migration.
func QueryMigrateParameters(ctx context.Context, e qmp.Executor) (MigrationParameters, error) {
	return qmp.Do[MigrationParameters](ctx, e, "query-migrate-parameters", nil)
}

// MigrateCancel cancels the migration that runs, if any.
func MigrateCancel(ctx context.Context, e qmp.Executor) error {
	return run(ctx, e, "migrate_cancel", nil)
}

// MigrateContinue lets a migration go on that waits in state, such as
// [MigrationStatusPreSwitchover].
func MigrateContinue(ctx context.Context, e qmp.Executor, state MigrationStatus) error {
	return run(ctx, e, "migrate-continue", struct {
		State MigrationStatus `json:"state"`
	}{state})
}

// MigratePause pauses a postcopy migration, as a lost connection does.
func MigratePause(ctx context.Context, e qmp.Executor) error {
	return run(ctx, e, "migrate-pause", nil)
}

// MigrateRecover gives the receiver of a paused postcopy migration a new address to wait
// at.
func MigrateRecover(ctx context.Context, e qmp.Executor, uri string) error {
	return run(ctx, e, "migrate-recover", struct {
		URI string `json:"uri"`
	}{uri})
}

// MigrateStartPostcopy makes a migration with the postcopy-ram capability let the guest
// run on the receiver's side.
func MigrateStartPostcopy(ctx context.Context, e qmp.Executor) error {
	return run(ctx, e, "migrate-start-postcopy", nil)
}

// QueryMigrate returns how the migration goes; its Status is empty when there was none.
func QueryMigrate(ctx context.Context, e qmp.Executor) (MigrationInfo, error) {
	return qmp.Do[MigrationInfo](ctx, e, "query-migrate", nil)
}

// QueryMigrationThreads lists the threads that send. Since QEMU 8.0.
func QueryMigrationThreads(ctx context.Context, e qmp.Executor) ([]MigrationThreadInfo, error) {
	return qmp.Do[[]MigrationThreadInfo](ctx, e, "query-migrationthreads", nil)
}

// AnnounceSelf makes the machine's NICs announce themselves, so that switches learn
// where it is now.
func AnnounceSelf(ctx context.Context, e qmp.Executor, args AnnounceParameters) error {
	return run(ctx, e, "announce-self", args)
}

// MigrateArgs are the arguments of migrate: URI or Channels.
type MigrateArgs struct {
	// Such as unix:/path, tcp:host:port, fd:name, exec:command, file:/path.
	URI      string             `json:"uri,omitempty"`
	Channels []MigrationChannel `json:"channels,omitempty"` // QEMU 8.2
	Resume   bool               `json:"resume,omitempty"`   // go on with a paused postcopy migration
	Blk      bool               `json:"blk,omitempty"`      // copy the disks too; until QEMU 9.0
	Inc      bool               `json:"inc,omitempty"`      // copy the overlays too; until QEMU 9.0
}

// MigrateIncomingArgs are the arguments of migrate-incoming: URI or Channels.
type MigrateIncomingArgs struct {
	URI         string             `json:"uri,omitempty"`
	Channels    []MigrationChannel `json:"channels,omitempty"`      // QEMU 8.2
	ExitOnError *bool              `json:"exit-on-error,omitempty"` // default: true (QEMU 9.1)
}

// MigrationChannel is where to send to, or where to wait.
type MigrationChannel struct {
	ChannelType MigrationChannelType `json:"channel-type"`
	Addr        MigrationAddress     `json:"addr"`
}

// MigrationChannelType is what goes through a channel.
type MigrationChannelType string

// Values of MigrationChannelType.
const (
	MigrationChannelTypeMain MigrationChannelType = "main" // everything
	MigrationChannelTypeCPR  MigrationChannelType = "cpr"
)

// MigrationAddress is an address of a migration: the transport, and what belongs to it.
// There is nothing for RDMA.
type MigrationAddress struct {
	Transport      MigrationAddressType `json:"transport"`
	*SocketAddress                      // of socket
	Args           []string             `json:"args,omitempty"`     // of exec: the command, not for a shell
	Filename       string               `json:"filename,omitempty"` // of file
	Offset         *uint64              `json:"offset,omitempty"`   // of file, needed: bytes
}

// MigrationAddressType is a kind of transport.
type MigrationAddressType string

// Values of MigrationAddressType.
const (
	MigrationAddressTypeSocket MigrationAddressType = "socket"
	MigrationAddressTypeExec   MigrationAddressType = "exec"
	MigrationAddressTypeRDMA   MigrationAddressType = "rdma"
	MigrationAddressTypeFile   MigrationAddressType = "file"
)

// MigrationThreadInfo is a thread that sends.
type MigrationThreadInfo struct {
	Name     string `json:"name"`
	ThreadID int64  `json:"thread-id"`
}

// AnnounceParameters are the arguments of announce-self.
type AnnounceParameters struct {
	Initial    int64    `json:"initial"`              // milliseconds before the second announcement
	Max        int64    `json:"max"`                  // milliseconds between announcements, at most
	Rounds     int64    `json:"rounds"`               // number of announcements
	Step       int64    `json:"step"`                 // milliseconds that the time between grows by
	Interfaces []string `json:"interfaces,omitempty"` // names of NICs; default: all
	// Of a series of announcements, which a later call with it stops or changes.
	ID string `json:"id,omitempty"`
}
