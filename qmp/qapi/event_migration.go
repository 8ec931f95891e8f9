package qapi

// MigrationEvent says that a migration is further; it comes only with the events capability.
type MigrationEvent struct {
	Status MigrationStatus `json:"status"`
}

// EventName returns [EventMigration].
func (MigrationEvent) EventName() string { return EventMigration }

// MigrationPassEvent says that a migration begins to send memory once more.
type MigrationPassEvent struct {
	Pass int64 `json:"pass"` // 1 is the first
}

// EventName returns [EventMigrationPass].
func (MigrationPassEvent) EventName() string { return EventMigrationPass }

// UnplugPrimaryEvent says that a migration begins, and the guest should let a failover device go.
type UnplugPrimaryEvent struct {
	DeviceID string `json:"device-id"`
}

// EventName returns [EventUnplugPrimary].
func (UnplugPrimaryEvent) EventName() string { return EventUnplugPrimary }

// FailoverNegotiatedEvent says that the guest can do with the standby of a failover device.
type FailoverNegotiatedEvent struct {
	DeviceID string `json:"device-id"`
}

// EventName returns [EventFailoverNegotiated].
func (FailoverNegotiatedEvent) EventName() string { return EventFailoverNegotiated }

// COLOExitEvent says that COLO has ended.
type COLOExitEvent struct {
	Mode   string `json:"mode"`
	Reason string `json:"reason"`
}

// EventName returns [EventCOLOExit].
func (COLOExitEvent) EventName() string { return EventCOLOExit }

// VFIOMigrationEvent says that an assigned device has changed its state for a migration.
// Since QEMU 9.1.
type VFIOMigrationEvent struct {
	DeviceID    string                 `json:"device-id"` // of the device
	QOMPath     string                 `json:"qom-path"`
	DeviceState QapiVfioMigrationState `json:"device-state"`
}

// EventName returns [EventVFIOMigration].
func (VFIOMigrationEvent) EventName() string { return EventVFIOMigration }

// QapiVfioMigrationState is a state of an assigned device.
type QapiVfioMigrationState string

// Values of QapiVfioMigrationState.
const (
	QapiVfioMigrationStateStop       QapiVfioMigrationState = "stop"
	QapiVfioMigrationStateRunning    QapiVfioMigrationState = "running"
	QapiVfioMigrationStateStopCopy   QapiVfioMigrationState = "stop-copy"
	QapiVfioMigrationStateResuming   QapiVfioMigrationState = "resuming"
	QapiVfioMigrationStateRunningP2p QapiVfioMigrationState = "running-p2p"
	QapiVfioMigrationStatePreCopy    QapiVfioMigrationState = "pre-copy"
	QapiVfioMigrationStatePreCopyP2p QapiVfioMigrationState = "pre-copy-p2p"
)

// VFUClientHangupEvent says that the client of a device that QEMU serves has gone.
type VFUClientHangupEvent struct {
	VFUID      string `json:"vfu-id"` // of the server object
	VFUQOMPath string `json:"vfu-qom-path"`
	DevID      string `json:"dev-id"`
	DevQOMPath string `json:"dev-qom-path"`
}

// EventName returns [EventVFUClientHangup].
func (VFUClientHangupEvent) EventName() string { return EventVFUClientHangup }

// DumpCompletedEvent says that a dump of the guest's memory has ended.
type DumpCompletedEvent struct {
	Result DumpQueryResult `json:"result"`
	Error  string          `json:"error,omitempty"` // empty: it went well
}

// EventName returns [EventDumpCompleted].
func (DumpCompletedEvent) EventName() string { return EventDumpCompleted }

// NicRXFilterChangedEvent says that the guest lets other frames through, see [QueryRXFilter]. It
// comes no more until the filter is asked for.
type NicRXFilterChangedEvent struct {
	Name string `json:"name,omitempty"` // id; empty: it has none
	Path string `json:"path"`           // its QOM path
}

// EventName returns [EventNicRXFilterChanged].
func (NicRXFilterChangedEvent) EventName() string { return EventNicRXFilterChanged }

// NetdevStreamConnectedEvent says that a stream is connected.
type NetdevStreamConnectedEvent struct {
	NetdevID string        `json:"netdev-id"`
	Addr     SocketAddress `json:"addr"` // the other end
}

// EventName returns [EventNetdevStreamConnected].
func (NetdevStreamConnectedEvent) EventName() string { return EventNetdevStreamConnected }

// NetdevStreamDisconnectedEvent says that a stream is not connected any more.
type NetdevStreamDisconnectedEvent struct {
	NetdevID string `json:"netdev-id"`
}

// EventName returns [EventNetdevStreamDisconnected].
func (NetdevStreamDisconnectedEvent) EventName() string { return EventNetdevStreamDisconnected }

// NetdevVhostUserConnectedEvent says that the process behind a NIC has come. Since QEMU
// 10.0.
type NetdevVhostUserConnectedEvent struct {
	NetdevID  string `json:"netdev-id"`
	ChardevID string `json:"chardev-id"`
}

// EventName returns [EventNetdevVhostUserConnected].
func (NetdevVhostUserConnectedEvent) EventName() string { return EventNetdevVhostUserConnected }

// NetdevVhostUserDisconnectedEvent says that the process behind a NIC has gone. Since
// QEMU 10.0.
type NetdevVhostUserDisconnectedEvent struct {
	NetdevID string `json:"netdev-id"`
}

// EventName returns [EventNetdevVhostUserDisconnected].
func (NetdevVhostUserDisconnectedEvent) EventName() string { return EventNetdevVhostUserDisconnected }
