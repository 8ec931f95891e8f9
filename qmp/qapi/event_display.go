package qapi

// VNCConnectedEvent says that a client has come, who may not be known yet.
type VNCConnectedEvent struct {
	Server VncServerInfo `json:"server"`
	Client VncBasicInfo  `json:"client"`
}

// EventName returns [EventVNCConnected].
func (VNCConnectedEvent) EventName() string { return EventVNCConnected }

// VNCInitializedEvent says that a client may use the VNC server.
type VNCInitializedEvent struct {
	Server VncServerInfo `json:"server"`
	Client VncClientInfo `json:"client"`
}

// EventName returns [EventVNCInitialized].
func (VNCInitializedEvent) EventName() string { return EventVNCInitialized }

// VNCDisconnectedEvent says that a client has gone.
type VNCDisconnectedEvent struct {
	Server VncServerInfo `json:"server"`
	Client VncClientInfo `json:"client"`
}

// EventName returns [EventVNCDisconnected].
func (VNCDisconnectedEvent) EventName() string { return EventVNCDisconnected }

// SpiceConnectedEvent says that a client has come.
type SpiceConnectedEvent struct {
	Server SpiceBasicInfo `json:"server"`
	Client SpiceBasicInfo `json:"client"`
}

// EventName returns [EventSpiceConnected].
func (SpiceConnectedEvent) EventName() string { return EventSpiceConnected }

// SpiceInitializedEvent says that a client may use a channel.
type SpiceInitializedEvent struct {
	Server SpiceServerInfo `json:"server"`
	Client SpiceChannel    `json:"client"`
}

// EventName returns [EventSpiceInitialized].
func (SpiceInitializedEvent) EventName() string { return EventSpiceInitialized }

// SpiceDisconnectedEvent says that a client has gone.
type SpiceDisconnectedEvent struct {
	Server SpiceBasicInfo `json:"server"`
	Client SpiceBasicInfo `json:"client"`
}

// EventName returns [EventSpiceDisconnected].
func (SpiceDisconnectedEvent) EventName() string { return EventSpiceDisconnected }

// SpiceMigrateCompletedEvent says that the clients know the receiver of a migration.
type SpiceMigrateCompletedEvent struct{}

// EventName returns [EventSpiceMigrateCompleted].
func (SpiceMigrateCompletedEvent) EventName() string { return EventSpiceMigrateCompleted }
