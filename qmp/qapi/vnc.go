package qapi

import (
	"context"

	"github.com/maqet/maqet/qmp"
)

// QueryVNC returns the first VNC server. See [QueryVNCServers].
func QueryVNC(ctx context.Context, e qmp.Executor) (VncInfo, error) {
	return qmp.Do[VncInfo](ctx, e, "query-vnc", nil)
}

// QueryVNCServers lists the VNC servers. It is an error when this QEMU has no VNC.
func QueryVNCServers(ctx context.Context, e qmp.Executor) ([]VncInfo2, error) {
	return qmp.Do[[]VncInfo2](ctx, e, "query-vnc-servers", nil)
}

// SetPassword sets the password of a remote display, which must have been started with
// one.
func SetPassword(ctx context.Context, e qmp.Executor, args SetPasswordOptions) error {
	return run(ctx, e, "set_password", args)
}

// ExpirePassword says until when the password of a remote display is good.
func ExpirePassword(ctx context.Context, e qmp.Executor, args ExpirePasswordOptions) error {
	return run(ctx, e, "expire_password", args)
}

// ChangeVNCPassword sets the password of the first VNC server.
func ChangeVNCPassword(ctx context.Context, e qmp.Executor, password string) error {
	return run(ctx, e, "change-vnc-password", struct {
		Password string `json:"password"`
	}{password})
}

// DisplayReload makes a display read its settings again.
func DisplayReload(ctx context.Context, e qmp.Executor, args DisplayReloadOptions) error {
	return run(ctx, e, "display-reload", args)
}

// DisplayUpdate changes settings of a display.
func DisplayUpdate(ctx context.Context, e qmp.Executor, args DisplayUpdateOptions) error {
	return run(ctx, e, "display-update", args)
}

// AddClient hands a connection, given to QEMU with [GetFD], to a display.
func AddClient(ctx context.Context, e qmp.Executor, args AddClientArgs) error {
	return run(ctx, e, "add_client", args)
}

// AddClientArgs are the arguments of add_client.
type AddClientArgs struct {
	Protocol string `json:"protocol"`           // vnc, spice or @dbus-display
	Fdname   string `json:"fdname"`             // as given to GetFD
	Skipauth bool   `json:"skipauth,omitempty"` // of vnc: the client need not show who it is
	TLS      bool   `json:"tls,omitempty"`      // of spice
}

// VncInfo is the answer to query-vnc.
type VncInfo struct {
	Enabled bool                 `json:"enabled"`
	Host    string               `json:"host,omitempty"`
	Family  NetworkAddressFamily `json:"family,omitempty"`
	Service string               `json:"service,omitempty"`
	Auth    string               `json:"auth,omitempty"`
	Clients []VncClientInfo      `json:"clients,omitempty"`
}

// VncInfo2 is a VNC server.
type VncInfo2 struct {
	ID       string             `json:"id"`
	Server   []VncServerInfo2   `json:"server"` // where it listens
	Clients  []VncClientInfo    `json:"clients"`
	Auth     VncPrimaryAuth     `json:"auth"`
	Vencrypt VncVencryptSubAuth `json:"vencrypt,omitempty"`
	Display  string             `json:"display,omitempty"` // the device whose picture it shows
}

// VncServerInfo2 is an address that a VNC server listens at.
type VncServerInfo2 struct {
	Host      string               `json:"host"`    // address
	Service   string               `json:"service"` // port
	Family    NetworkAddressFamily `json:"family"`
	Websocket bool                 `json:"websocket"`
	Auth      VncPrimaryAuth       `json:"auth"`
	Vencrypt  VncVencryptSubAuth   `json:"vencrypt,omitempty"`
}

// VncServerInfo is a VNC server in an event.
type VncServerInfo struct {
	Host      string               `json:"host"`    // address
	Service   string               `json:"service"` // port
	Family    NetworkAddressFamily `json:"family"`
	Websocket bool                 `json:"websocket"`
	Auth      string               `json:"auth,omitempty"`
}

// VncBasicInfo is one end of a VNC connection.
type VncBasicInfo struct {
	Host      string               `json:"host"`    // address
	Service   string               `json:"service"` // port
	Family    NetworkAddressFamily `json:"family"`
	Websocket bool                 `json:"websocket"`
}

// VncClientInfo is a client of a VNC server.
type VncClientInfo struct {
	Host         string               `json:"host"`    // address
	Service      string               `json:"service"` // port
	Family       NetworkAddressFamily `json:"family"`
	Websocket    bool                 `json:"websocket"`
	X509Dname    string               `json:"x509_dname,omitempty"`
	SASLUsername string               `json:"sasl_username,omitempty"`
}

// NetworkAddressFamily is a family of addresses.
type NetworkAddressFamily string

// Values of NetworkAddressFamily.
const (
	NetworkAddressFamilyIPv4    NetworkAddressFamily = "ipv4"
	NetworkAddressFamilyIPv6    NetworkAddressFamily = "ipv6"
	NetworkAddressFamilyUnix    NetworkAddressFamily = "unix"
	NetworkAddressFamilyVsock   NetworkAddressFamily = "vsock"
	NetworkAddressFamilyUnknown NetworkAddressFamily = "unknown"
)

// VncPrimaryAuth is how a VNC server knows its clients.
type VncPrimaryAuth string

// Values of VncPrimaryAuth.
const (
	VncPrimaryAuthNone     VncPrimaryAuth = "none"
	VncPrimaryAuthVNC      VncPrimaryAuth = "vnc"
	VncPrimaryAuthRa2      VncPrimaryAuth = "ra2"
	VncPrimaryAuthRa2ne    VncPrimaryAuth = "ra2ne"
	VncPrimaryAuthTight    VncPrimaryAuth = "tight"
	VncPrimaryAuthUltra    VncPrimaryAuth = "ultra"
	VncPrimaryAuthTLS      VncPrimaryAuth = "tls"
	VncPrimaryAuthVencrypt VncPrimaryAuth = "vencrypt"
	VncPrimaryAuthSASL     VncPrimaryAuth = "sasl"
)

// VncVencryptSubAuth is how a VNC server knows its clients behind VeNCrypt.
type VncVencryptSubAuth string

// Values of VncVencryptSubAuth.
const (
	VncVencryptSubAuthPlain     VncVencryptSubAuth = "plain"
	VncVencryptSubAuthTLSNone   VncVencryptSubAuth = "tls-none"
	VncVencryptSubAuthX509None  VncVencryptSubAuth = "x509-none"
	VncVencryptSubAuthTLSVNC    VncVencryptSubAuth = "tls-vnc"
	VncVencryptSubAuthX509VNC   VncVencryptSubAuth = "x509-vnc"
	VncVencryptSubAuthTLSPlain  VncVencryptSubAuth = "tls-plain"
	VncVencryptSubAuthX509Plain VncVencryptSubAuth = "x509-plain"
	VncVencryptSubAuthTLSSASL   VncVencryptSubAuth = "tls-sasl"
	VncVencryptSubAuthX509SASL  VncVencryptSubAuth = "x509-sasl"
)

// SetPasswordOptions are the arguments of set_password.
type SetPasswordOptions struct {
	Protocol DisplayProtocol `json:"protocol"`
	Password string          `json:"password"`
	// What becomes of clients; with vnc only keep; default: keep.
	Connected SetPasswordAction `json:"connected,omitempty"`
	Display   string            `json:"display,omitempty"` // id of the VNC server; default: the first
}

// ExpirePasswordOptions are the arguments of expire_password.
type ExpirePasswordOptions struct {
	Protocol DisplayProtocol `json:"protocol"`
	Time     string          `json:"time"`              // "now", "never", "+SECONDS" from now, or Unix time
	Display  string          `json:"display,omitempty"` // id of the VNC server; default: the first
}

// DisplayProtocol is a remote display.
type DisplayProtocol string

// Values of DisplayProtocol.
const (
	DisplayProtocolVNC   DisplayProtocol = "vnc"
	DisplayProtocolSpice DisplayProtocol = "spice"
)

// SetPasswordAction is what becomes of clients that are connected.
type SetPasswordAction string

// Values of SetPasswordAction.
const (
	SetPasswordActionKeep       SetPasswordAction = "keep"
	SetPasswordActionFail       SetPasswordAction = "fail"
	SetPasswordActionDisconnect SetPasswordAction = "disconnect"
)

// DisplayReloadOptions are the arguments of display-reload.
type DisplayReloadOptions struct {
	Type     DisplayReloadType `json:"type"`
	TLSCerts bool              `json:"tls-certs,omitempty"` // of vnc
}

// DisplayReloadType is a kind of display that can reload.
type DisplayReloadType string

// Values of DisplayReloadType.
const (
	DisplayReloadTypeVNC DisplayReloadType = "vnc"
)

// DisplayUpdateOptions are the arguments of display-update.
type DisplayUpdateOptions struct {
	Type      DisplayUpdateType `json:"type"`
	Addresses []SocketAddress   `json:"addresses,omitempty"` // of vnc: where to listen from now on
}

// DisplayUpdateType is a kind of display that can be updated.
type DisplayUpdateType string

// Values of DisplayUpdateType.
const (
	DisplayUpdateTypeVNC DisplayUpdateType = "vnc"
)
