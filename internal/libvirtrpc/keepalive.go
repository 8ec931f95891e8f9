package libvirtrpc

import (
	"errors"
	"time"
)

// Procedures of the keepalive program (virkeepaliveprotocol.x).
const (
	procPing = 1
	procPong = 2
)

// featureKeepalive is VIR_DRV_FEATURE_PROGRAM_KEEPALIVE: both sides answer pings. libvirtd takes
// the question as a client's assurance that it does, and begins to send some.
const featureKeepalive = 10

// ErrSilent says that libvirtd did not answer any more, though the connection is open.
var ErrSilent = errors.New("libvirtd does not answer")

// Keepalive says how to find out that libvirtd, or its host, is gone without saying so.
type Keepalive struct {
	// Interval is after how much silence it is asked for a sign of life. 0: never.
	Interval time.Duration
	// Count is how many such questions may stay unanswered.
	Count int
}

func keepaliveMessage(procedure uint32) []byte {
	return header{programKeepalive, version, procedure, typeMessage, 0, statusOK}.message(nil)
}

// answer returns the answer to a ping; nil: the message is none.
func answer(h header) []byte {
	if h.program != programKeepalive || h.procedure != procPing {
		return nil
	}
	return keepaliveMessage(procPong)
}

// isPong reports whether a message is the answer to a ping.
func isPong(h header) bool { return h.program == programKeepalive && h.procedure == procPong }
