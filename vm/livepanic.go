package vm

import (
	"regexp"
	"strings"
	"time"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/qmp"
)

// panicPattern is the line that Linux prints when it panics (kernel/panic.c), at the
// beginning of a line, so that a guest that prints a log of another is not taken for one.
var panicPattern = regexp.MustCompile(`(?m)^(?:\[[ \d.]+\] ?)?Kernel panic - not syncing.*`)

// panicGrace is how long a guest that panicked may go on printing what it has to say.
const panicGrace = 200 * time.Millisecond

// panicked gives the guest up: QEMU is ended after a moment in which the guest may
// print the rest of its last words.
func (g *liveGuest) panicked(line string) {
	g.panicOnce.Do(func() {
		g.mu.Lock()
		g.panic = line
		g.mu.Unlock()
		g.wg.Go(func() { g.giveUp(line) })
	})
}

func (g *liveGuest) giveUp(line string) {
	timer := time.NewTimer(panicGrace)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-g.ctx.Done():
	case <-g.guest.Done():
	}
	g.mourn(line)
	if g.ctx.Err() == nil {
		_ = strike(g.ctx, g.guest)
	}
}

func (g *liveGuest) mourn(line string) {
	g.doom(&errors.GuestError{Kind: errors.ErrGuestPanic, VM: g.name, Msg: strings.TrimSpace(line),
		Console: lastOf(g.guest.Runtime().Console)})
}

// lastLook finds a panic that ended the guest before listen read of it, or giveUp said so: a
// kernel with panic=-1 on its command line resets at once, QEMU ends a guest that has the
// device pvpanic by itself.
func (g *liveGuest) lastLook() {
	line := panicPattern.FindString(lastOf(g.guest.Runtime().Console))
	if line == "" {
		g.mu.Lock()
		line = g.panic
		g.mu.Unlock()
	}
	if line != "" {
		g.mourn(line)
	}
}

// watchdog notes what the guest's watchdog is about to do: to pause the CPUs, STOP follows;
// to end QEMU, which it does without a further word (QEMU, hw/watchdog/watchdog.c).
func (g *liveGuest) watchdog(ev qmp.Event) {
	var data struct {
		Action string `json:"action"`
	}
	if ev.Decode(&data) != nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.barked = data.Action
}

// pauseReason says why the CPUs were halted.
func (g *liveGuest) pauseReason() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.barked != WatchdogPause {
		return ReasonPaused
	}
	g.barked = ""
	return ReasonWatchdog
}
