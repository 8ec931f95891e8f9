package vm

import (
	"time"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/internal/tail"
)

// evidenceSize is how much of a log an error carries.
const evidenceSize = 4096

// proof is what is left of a guest that failed.
type proof struct {
	exit            *errors.ExitStatus
	stderr, console string
}

// evidence collects what a guest left before it is cleared away. live may be nil.
func evidence(live *liveGuest) proof {
	if live == nil {
		return proof{}
	}
	var p proof
	timer := time.NewTimer(exitGrace(live))
	defer timer.Stop()
	select {
	case <-live.guest.Done():
	case <-timer.C:
	}
	if gone(live.guest) {
		exit := live.guest.Exit()
		p.exit = &exit
	}
	rt := live.guest.Runtime()
	p.stderr, p.console = lastOf(rt.Stderr), lastOf(rt.Console)
	for _, h := range rt.Helpers {
		if text := lastOf(h.Log); text != "" {
			p.stderr += "[" + h.Name + "]\n" + text
		}
	}
	return p
}

// exitGrace is how long to wait for a process whose control channel has just ended:
// the end of the channel is seen a moment before the end of the process.
func exitGrace(live *liveGuest) time.Duration {
	if live.guest.QMP().Err() != nil {
		return 50 * time.Millisecond
	}
	return 0
}

func lastOf(path string) string {
	if path == "" {
		return ""
	}
	b, err := tail.Last(path, evidenceSize)
	if err != nil {
		return ""
	}
	return string(b)
}
