package vm

import "slices"

// State is where a VM is in its life.
type State string

// The states. Starting, Running, Paused and Stopping are live: a process or domain
// may exist.
const (
	Created  State = "created"  // recorded, never started
	Starting State = "starting" // being started by some process
	Running  State = "running"
	Paused   State = "paused" // the virtual CPUs stand still
	Stopping State = "stopping"
	Stopped  State = "stopped"
	Failed   State = "failed" // ended in a way that nobody asked for; Reason says how
)

// transitions is the one table of what may follow what. Besides, a VM that is Failed because
// its host can't be reached becomes whatever its guest is found to be when the host answers
// again; see [ReasonHostUnreachable].
var transitions = map[State][]State{
	Created:  {Starting},
	Starting: {Running, Paused, Stopping, Stopped, Failed},
	Running:  {Paused, Stopping, Stopped, Failed},
	Paused:   {Running, Stopping, Stopped, Failed},
	// A guest goes back from stopping only when the process that stopped it died and
	// another one adopts the guest.
	Stopping: {Running, Paused, Stopped, Failed},
	// Others may have started it; see Surveyor.
	Stopped: {Starting, Running, Paused},
	Failed:  {Starting, Running, Paused},
}

// CanBecome reports whether the state machine lets a VM go from s to next.
func (s State) CanBecome(next State) bool { return slices.Contains(transitions[s], next) }

// Live reports whether a process or domain may exist in this state.
func (s State) Live() bool {
	return s == Starting || s == Running || s == Paused || s == Stopping
}

// Valid reports whether s is one of the states.
func (s State) Valid() bool { _, ok := transitions[s]; return ok }

// Reasons that accompany a state. Others come with details behind a colon, such as
// "qemu-exited: signal SIGKILL".
const (
	ReasonAdded         = "added"
	ReasonStarted       = "started"
	ReasonStartFailed   = "start-failed"   // "start-failed: STEP"
	ReasonAdopted       = "adopted"        // another process found it running
	ReasonPaused        = "paused"         // QMP stop
	ReasonResumed       = "resumed"        // QMP cont
	ReasonGuestShutdown = "guest-shutdown" // the guest powered itself off
	ReasonGuestReset    = "guest-reset"    // the guest reset itself where that ends QEMU
	ReasonGuestPanic    = "guest-panic"
	ReasonWatchdog      = "watchdog" // the guest's watchdog expired, whose action is to pause or to end QEMU
	ReasonStopRequested = "stop-requested"
	ReasonStopped       = "stopped"      // "stopped: STEP", by Stop
	ReasonQEMUExited    = "qemu-exited"  // "qemu-exited: STATUS"
	ReasonHelperEnded   = "helper-ended" // "helper-ended: NAME: STATUS", of a guest that goes on without
	ReasonCaptured      = "captured"     // its guest was made a template
	ReasonOwnerDied     = "owner-died"   // the process that started an ephemeral guest ended
	ReasonLoadFailed    = "load-failed"  // "load-failed: SNAPSHOT": QEMU had loaded a part of it
	ReasonHostRebooted  = "host-rebooted"
	// ReasonHostUnreachable: the host that runs the guest does not answer. The guest may run
	// on: the VM is what it was again when its host answers again.
	ReasonHostUnreachable = "host-unreachable"
	ReasonHostReturned    = "host-returned" // its host can be reached again, and it runs there
	ReasonVanished        = "vanished"      // recorded as live, but nothing of it runs
)
