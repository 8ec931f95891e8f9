package qapi

import (
	"context"

	"github.com/maqet/maqet/qmp"
)

// QuerySpice returns the SPICE server. It is an error when this QEMU has no SPICE.
func QuerySpice(ctx context.Context, e qmp.Executor) (SpiceInfo, error) {
	return qmp.Do[SpiceInfo](ctx, e, "query-spice", nil)
}

// SpiceInfo is the answer to query-spice.
type SpiceInfo struct {
	Enabled         bool                `json:"enabled"`
	Migrated        bool                `json:"migrated"`
	Host            string              `json:"host,omitempty"`
	Port            *int64              `json:"port,omitempty"`
	TLSPort         *int64              `json:"tls-port,omitempty"`
	Auth            string              `json:"auth,omitempty"`
	CompiledVersion string              `json:"compiled-version,omitempty"`
	MouseMode       SpiceQueryMouseMode `json:"mouse-mode"`
	Channels        []SpiceChannel      `json:"channels,omitempty"`
}

// SpiceQueryMouseMode is who draws the pointer.
type SpiceQueryMouseMode string

// Values of SpiceQueryMouseMode.
const (
	SpiceQueryMouseModeClient  SpiceQueryMouseMode = "client"
	SpiceQueryMouseModeServer  SpiceQueryMouseMode = "server"
	SpiceQueryMouseModeUnknown SpiceQueryMouseMode = "unknown"
)

// SpiceBasicInfo is one end of a SPICE connection.
type SpiceBasicInfo struct {
	Host   string               `json:"host"`
	Port   string               `json:"port"`
	Family NetworkAddressFamily `json:"family"`
}

// SpiceServerInfo is a SPICE server.
type SpiceServerInfo struct {
	Host   string               `json:"host"`
	Port   string               `json:"port"`
	Family NetworkAddressFamily `json:"family"`
	Auth   string               `json:"auth,omitempty"` // how it knows its clients
}

// SpiceChannel is a channel of a SPICE connection.
type SpiceChannel struct {
	Host         string               `json:"host"`
	Port         string               `json:"port"`
	Family       NetworkAddressFamily `json:"family"`
	ConnectionID int64                `json:"connection-id"` // the same for all channels of a client
	ChannelType  int64                `json:"channel-type"`
	ChannelID    int64                `json:"channel-id"`
	TLS          bool                 `json:"tls"`
}
