package qapi

// ChardevBackend describes the host's side of a character device. Data is what Type
// says; it must not be nil:
//
//   - [ChardevFile], [ChardevSocket], [ChardevUdp], [ChardevPty], [ChardevMux],
//     [ChardevHub], [ChardevStdio], [ChardevQemuVDAgent], [ChardevDBus], [ChardevVC],
//     [ChardevSpiceChannel], [ChardevSpicePort]
//   - [ChardevHostdev] for serial, parallel and pipe
//   - [ChardevRingbuf] for ringbuf
//   - [ChardevCommon] for null, msmouse, wctablet, braille, testdev and console
//   - for another type anything that marshals to an object, and a json.RawMessage after
//     unmarshalling
type ChardevBackend struct {
	Type ChardevBackendKind `json:"type"`
	Data any                `json:"data"`
}

// UnmarshalJSON implements json.Unmarshaler.
func (b *ChardevBackend) UnmarshalJSON(data []byte) error {
	return unmarshalUnion(data, &b.Type, &b.Data, chardevBackendBranch)
}

func chardevBackendBranch(kind ChardevBackendKind) any {
	switch kind {
	case ChardevBackendKindFile:
		return new(ChardevFile)
	case ChardevBackendKindSerial, ChardevBackendKindParallel, ChardevBackendKindPipe:
		return new(ChardevHostdev)
	case ChardevBackendKindSocket:
		return new(ChardevSocket)
	case ChardevBackendKindUDP:
		return new(ChardevUdp)
	case ChardevBackendKindPty:
		return new(ChardevPty)
	case ChardevBackendKindMux:
		return new(ChardevMux)
	case ChardevBackendKindHub:
		return new(ChardevHub)
	case ChardevBackendKindStdio:
		return new(ChardevStdio)
	case ChardevBackendKindSpiceVMC:
		return new(ChardevSpiceChannel)
	case ChardevBackendKindSpiceport:
		return new(ChardevSpicePort)
	case ChardevBackendKindQEMUVDAgent:
		return new(ChardevQemuVDAgent)
	case ChardevBackendKindDBus:
		return new(ChardevDBus)
	case ChardevBackendKindVC:
		return new(ChardevVC)
	case ChardevBackendKindRingbuf, ChardevBackendKindMemory:
		return new(ChardevRingbuf)
	case ChardevBackendKindNull, ChardevBackendKindMsmouse, ChardevBackendKindWctablet,
		ChardevBackendKindBraille, ChardevBackendKindTestdev, ChardevBackendKindConsole:
		return new(ChardevCommon)
	}
	return nil
}

// ChardevBackendKind is a kind of character device.
type ChardevBackendKind string

// Values of ChardevBackendKind.
const (
	ChardevBackendKindFile        ChardevBackendKind = "file"
	ChardevBackendKindSerial      ChardevBackendKind = "serial"   // a serial port of the host
	ChardevBackendKindParallel    ChardevBackendKind = "parallel" // a parallel port of the host
	ChardevBackendKindPipe        ChardevBackendKind = "pipe"     // a pair of named pipes
	ChardevBackendKindSocket      ChardevBackendKind = "socket"
	ChardevBackendKindUDP         ChardevBackendKind = "udp"
	ChardevBackendKindPty         ChardevBackendKind = "pty"
	ChardevBackendKindNull        ChardevBackendKind = "null"
	ChardevBackendKindMux         ChardevBackendKind = "mux"
	ChardevBackendKindHub         ChardevBackendKind = "hub" // QEMU 10.0
	ChardevBackendKindMsmouse     ChardevBackendKind = "msmouse"
	ChardevBackendKindWctablet    ChardevBackendKind = "wctablet"
	ChardevBackendKindBraille     ChardevBackendKind = "braille"
	ChardevBackendKindTestdev     ChardevBackendKind = "testdev"
	ChardevBackendKindStdio       ChardevBackendKind = "stdio"
	ChardevBackendKindConsole     ChardevBackendKind = "console"
	ChardevBackendKindSpiceVMC    ChardevBackendKind = "spicevmc"
	ChardevBackendKindSpiceport   ChardevBackendKind = "spiceport"
	ChardevBackendKindQEMUVDAgent ChardevBackendKind = "qemu-vdagent"
	ChardevBackendKindDBus        ChardevBackendKind = "dbus"
	ChardevBackendKindVC          ChardevBackendKind = "vc"
	ChardevBackendKindRingbuf     ChardevBackendKind = "ringbuf"
	ChardevBackendKindMemory      ChardevBackendKind = "memory" // an older name of ringbuf
)

// ChardevCommon is what each character device can have.
type ChardevCommon struct {
	// Name of a file that gets a copy of what the guest writes.
	Logfile   string `json:"logfile,omitempty"`
	Logappend bool   `json:"logappend,omitempty"` // to its end; else it is emptied first
}

// ChardevFile is a file of the host.
type ChardevFile struct {
	Logfile   string `json:"logfile,omitempty"`
	Logappend bool   `json:"logappend,omitempty"`
	In        string `json:"in,omitempty"`     // name of the file that the guest reads; default: it reads nothing
	Out       string `json:"out"`              // name of the file that the guest writes
	Append    bool   `json:"append,omitempty"` // to its end; else it is emptied first
}

// ChardevHostdev is a device or pipe of the host.
type ChardevHostdev struct {
	Logfile   string `json:"logfile,omitempty"`
	Logappend bool   `json:"logappend,omitempty"`
	Device    string `json:"device"` // its name
}

// ChardevSocket is a socket.
type ChardevSocket struct {
	Logfile   string              `json:"logfile,omitempty"`
	Logappend bool                `json:"logappend,omitempty"`
	Addr      SocketAddressLegacy `json:"addr"`
	TLSCreds  string              `json:"tls-creds,omitempty"` // id of a tls-creds object
	TLSAuthz  string              `json:"tls-authz,omitempty"`
	Server    *bool               `json:"server,omitempty"` // listen; default: true
	Wait      bool                `json:"wait,omitempty"`   // as a server, return only when a client has connected
	Nodelay   bool                `json:"nodelay,omitempty"`
	Telnet    bool                `json:"telnet,omitempty"`
	TN3270    bool                `json:"tn3270,omitempty"`
	Websocket bool                `json:"websocket,omitempty"`
	Reconnect int64               `json:"reconnect,omitempty"` // seconds until a client tries again; 0: it does not
	// Milliseconds until a client tries again; 0: it does not (QEMU 9.2).
	ReconnectMs int64 `json:"reconnect-ms,omitempty"`
}

// ChardevUdp is a UDP socket.
type ChardevUdp struct {
	Logfile   string               `json:"logfile,omitempty"`
	Logappend bool                 `json:"logappend,omitempty"`
	Remote    SocketAddressLegacy  `json:"remote"`
	Local     *SocketAddressLegacy `json:"local,omitempty"`
}

// ChardevPty is a pseudo terminal.
type ChardevPty struct {
	Logfile   string `json:"logfile,omitempty"`
	Logappend bool   `json:"logappend,omitempty"`
	Path      string `json:"path,omitempty"` // of a symbolic link to it (QEMU 9.2)
}

// ChardevMux shares a character device between several frontends.
type ChardevMux struct {
	Logfile   string `json:"logfile,omitempty"`
	Logappend bool   `json:"logappend,omitempty"`
	Chardev   string `json:"chardev"`
}

// ChardevHub shares a frontend between several character devices.
type ChardevHub struct {
	Logfile   string   `json:"logfile,omitempty"`
	Logappend bool     `json:"logappend,omitempty"`
	Chardevs  []string `json:"chardevs"`
}

// ChardevStdio is QEMU's standard input and output.
type ChardevStdio struct {
	Logfile   string `json:"logfile,omitempty"`
	Logappend bool   `json:"logappend,omitempty"`
	Signal    *bool  `json:"signal,omitempty"` // Ctrl-C ends QEMU; default: true
}

// ChardevSpiceChannel is a channel of SPICE.
type ChardevSpiceChannel struct {
	Logfile   string `json:"logfile,omitempty"`
	Logappend bool   `json:"logappend,omitempty"`
	Type      string `json:"type"`
}

// ChardevSpicePort is a port of SPICE.
type ChardevSpicePort struct {
	Logfile   string `json:"logfile,omitempty"`
	Logappend bool   `json:"logappend,omitempty"`
	Fqdn      string `json:"fqdn"`
}

// ChardevQemuVDAgent is a stand-in for SPICE's agent, for the mouse and the clipboard.
type ChardevQemuVDAgent struct {
	Logfile   string `json:"logfile,omitempty"`
	Logappend bool   `json:"logappend,omitempty"`
	Mouse     bool   `json:"mouse,omitempty"`
	Clipboard bool   `json:"clipboard,omitempty"`
}

// ChardevDBus is a channel on D-Bus.
type ChardevDBus struct {
	Logfile   string `json:"logfile,omitempty"`
	Logappend bool   `json:"logappend,omitempty"`
	Name      string `json:"name"`
}

// ChardevVC is a text console on QEMU's display, in pixels or in characters.
type ChardevVC struct {
	Logfile   string `json:"logfile,omitempty"`
	Logappend bool   `json:"logappend,omitempty"`
	Width     int64  `json:"width,omitempty"`
	Height    int64  `json:"height,omitempty"`
	Cols      int64  `json:"cols,omitempty"`
	Rows      int64  `json:"rows,omitempty"`
}

// ChardevRingbuf is a buffer in memory; see [RingbufRead].
type ChardevRingbuf struct {
	Logfile   string `json:"logfile,omitempty"`
	Logappend bool   `json:"logappend,omitempty"`
	Size      int64  `json:"size,omitempty"` // bytes, a power of two; default: 65536
}
