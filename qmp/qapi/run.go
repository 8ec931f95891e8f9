package qapi

import (
	"context"

	"github.com/maqet/maqet/qmp"
)

// QueryStatus returns the run state.
func QueryStatus(ctx context.Context, e qmp.Executor) (StatusInfo, error) {
	return qmp.Do[StatusInfo](ctx, e, "query-status", nil)
}

// Stop halts the virtual CPUs. It succeeds when they are halted already.
func Stop(ctx context.Context, e qmp.Executor) error {
	return run(ctx, e, "stop", nil)
}

// Cont lets the virtual CPUs run, also after a migration or an I/O error. QEMU refuses
// it in states that only SystemReset leaves, such as shutdown.
func Cont(ctx context.Context, e qmp.Executor) error {
	return run(ctx, e, "cont", nil)
}

// SystemReset resets the machine at once, as its reset button would. [ResetEvent] says
// that it has happened.
func SystemReset(ctx context.Context, e qmp.Executor) error {
	return run(ctx, e, "system_reset", nil)
}

// SystemPowerdown presses the power button. What follows is up to the guest.
func SystemPowerdown(ctx context.Context, e qmp.Executor) error {
	return run(ctx, e, "system_powerdown", nil)
}

// SystemWakeup wakes a guest that sleeps (run state suspended); see
// [CurrentMachineParams].
func SystemWakeup(ctx context.Context, e qmp.Executor) error {
	return run(ctx, e, "system_wakeup", nil)
}

// Quit ends QEMU at once. Its answer comes before the end.
func Quit(ctx context.Context, e qmp.Executor) error {
	return run(ctx, e, "quit", nil)
}

// SetAction sets what QEMU does when the guest resets, shuts down or panics, or when its
// watchdog fires (-action on the command line). What is empty stays as it is.
func SetAction(ctx context.Context, e qmp.Executor, args SetActionArgs) error {
	return run(ctx, e, "set-action", args)
}

// WatchdogSetAction sets what QEMU does when the watchdog fires.
func WatchdogSetAction(ctx context.Context, e qmp.Executor, action WatchdogAction) error {
	return run(ctx, e, "watchdog-set-action", struct {
		Action WatchdogAction `json:"action"`
	}{action})
}

// InjectNMI sends a non-maskable interrupt to the guest, which most systems answer with
// a panic or a crash dump.
func InjectNMI(ctx context.Context, e qmp.Executor) error {
	return run(ctx, e, "inject-nmi", nil)
}

// RTCResetReinjection drops the timer interrupts that the guest still has to catch up
// with, after its clock was set.
func RTCResetReinjection(ctx context.Context, e qmp.Executor) error {
	return run(ctx, e, "rtc-reset-reinjection", nil)
}

// StatusInfo is the answer to query-status.
type StatusInfo struct {
	Running    bool     `json:"running"` // the virtual CPUs run
	Status     RunState `json:"status"`
	Singlestep bool     `json:"singlestep,omitempty"` // until QEMU 8.2
}

// SetActionArgs are the arguments of set-action.
type SetActionArgs struct {
	Reboot   RebootAction   `json:"reboot,omitempty"`
	Shutdown ShutdownAction `json:"shutdown,omitempty"`
	Panic    PanicAction    `json:"panic,omitempty"`
	Watchdog WatchdogAction `json:"watchdog,omitempty"`
}

// RunState is the state of the machine as a whole.
type RunState string

// Values of RunState.
const (
	RunStateDebug         RunState = "debug"     // halted by a debugger
	RunStateInmigrate     RunState = "inmigrate" // waits for an incoming migration
	RunStateInternalError RunState = "internal-error"
	RunStateIOError       RunState = "io-error"       // halted by an I/O error, see werror and rerror
	RunStatePaused        RunState = "paused"         // halted by stop
	RunStatePostmigrate   RunState = "postmigrate"    // halted after a migration that was completed
	RunStatePrelaunch     RunState = "prelaunch"      // started with -S, not yet let run
	RunStateFinishMigrate RunState = "finish-migrate" // halted to finish a migration
	RunStateRestoreVM     RunState = "restore-vm"     // halted to load a snapshot
	RunStateRunning       RunState = "running"
	RunStateSaveVM        RunState = "save-vm"        // halted to save a snapshot
	RunStateShutdown      RunState = "shutdown"       // the guest has shut down, and QEMU runs with -no-shutdown
	RunStateSuspended     RunState = "suspended"      // the guest sleeps (ACPI S3)
	RunStateWatchdog      RunState = "watchdog"       // halted by the watchdog
	RunStateGuestPanicked RunState = "guest-panicked" // halted by a panic of the guest's system
	RunStateCOLO          RunState = "colo"
)

// RebootAction is what QEMU does when the guest resets itself.
type RebootAction string

// Values of RebootAction.
const (
	RebootActionReset    RebootAction = "reset"
	RebootActionShutdown RebootAction = "shutdown"
)

// ShutdownAction is what QEMU does when the guest shuts down.
type ShutdownAction string

// Values of ShutdownAction.
const (
	ShutdownActionPoweroff ShutdownAction = "poweroff"
	ShutdownActionPause    ShutdownAction = "pause"
)

// PanicAction is what QEMU does when the guest panics.
type PanicAction string

// Values of PanicAction.
const (
	PanicActionPause       PanicAction = "pause"
	PanicActionShutdown    PanicAction = "shutdown"
	PanicActionExitFailure PanicAction = "exit-failure"
	PanicActionNone        PanicAction = "none" // report it and let the guest run
)

// WatchdogAction is what QEMU does when the watchdog fires.
type WatchdogAction string

// Values of WatchdogAction.
const (
	WatchdogActionReset     WatchdogAction = "reset"
	WatchdogActionShutdown  WatchdogAction = "shutdown" // press the power button
	WatchdogActionPoweroff  WatchdogAction = "poweroff" // end QEMU
	WatchdogActionPause     WatchdogAction = "pause"
	WatchdogActionDebug     WatchdogAction = "debug" // write a line to stderr
	WatchdogActionNone      WatchdogAction = "none"
	WatchdogActionInjectNMI WatchdogAction = "inject-nmi"
)
