package qapi

// ShutdownEvent says that the guest has shut down, or QEMU ends.
type ShutdownEvent struct {
	Guest  bool          `json:"guest"` // the guest wanted it
	Reason ShutdownCause `json:"reason"`
}

// EventName returns [EventShutdown].
func (ShutdownEvent) EventName() string { return EventShutdown }

// ResetEvent says that the machine was reset.
type ResetEvent struct {
	Guest  bool          `json:"guest"` // the guest wanted it
	Reason ShutdownCause `json:"reason"`
}

// EventName returns [EventReset].
func (ResetEvent) EventName() string { return EventReset }

// PowerdownEvent says that the power button was pressed.
type PowerdownEvent struct{}

// EventName returns [EventPowerdown].
func (PowerdownEvent) EventName() string { return EventPowerdown }

// StopEvent says that the virtual CPUs were halted.
type StopEvent struct{}

// EventName returns [EventStop].
func (StopEvent) EventName() string { return EventStop }

// ResumeEvent says that the virtual CPUs run again.
type ResumeEvent struct{}

// EventName returns [EventResume].
func (ResumeEvent) EventName() string { return EventResume }

// SuspendEvent says that the guest sleeps (ACPI S3).
type SuspendEvent struct{}

// EventName returns [EventSuspend].
func (SuspendEvent) EventName() string { return EventSuspend }

// SuspendDiskEvent says that the guest hibernates (ACPI S4); [ShutdownEvent] follows.
type SuspendDiskEvent struct{}

// EventName returns [EventSuspendDisk].
func (SuspendDiskEvent) EventName() string { return EventSuspendDisk }

// WakeupEvent says that the guest has woken up.
type WakeupEvent struct{}

// EventName returns [EventWakeup].
func (WakeupEvent) EventName() string { return EventWakeup }

// WatchdogEvent says that the watchdog has fired.
type WatchdogEvent struct {
	Action WatchdogAction `json:"action"` // what QEMU did
}

// EventName returns [EventWatchdog].
func (WatchdogEvent) EventName() string { return EventWatchdog }

// RTCChangeEvent says that the guest has set its clock.
type RTCChangeEvent struct {
	Offset  int64  `json:"offset"`   // seconds ahead of the clock that QEMU gave it
	QOMPath string `json:"qom-path"` // of the clock
}

// EventName returns [EventRTCChange].
func (RTCChangeEvent) EventName() string { return EventRTCChange }

// GuestPanickedEvent says that the guest's system has panicked.
type GuestPanickedEvent struct {
	Action GuestPanicAction       `json:"action"` // what QEMU did
	Info   *GuestPanicInformation `json:"info,omitempty"`
}

// EventName returns [EventGuestPanicked].
func (GuestPanickedEvent) EventName() string { return EventGuestPanicked }

// GuestCrashloadedEvent says that the guest's system has panicked and handles it by itself.
type GuestCrashloadedEvent struct {
	Action GuestPanicAction       `json:"action"` // what QEMU did
	Info   *GuestPanicInformation `json:"info,omitempty"`
}

// EventName returns [EventGuestCrashloaded].
func (GuestCrashloadedEvent) EventName() string { return EventGuestCrashloaded }

// GuestPvshutdownEvent says that the guest said by way of pvpanic that it shuts down.
// Since QEMU 9.1.
type GuestPvshutdownEvent struct{}

// EventName returns [EventGuestPvshutdown].
func (GuestPvshutdownEvent) EventName() string { return EventGuestPvshutdown }

// ShutdownCause is why a machine was shut down or reset.
type ShutdownCause string

// Values of ShutdownCause.
const (
	ShutdownCauseNone               ShutdownCause = "none"
	ShutdownCauseHostError          ShutdownCause = "host-error" // such as a device that failed
	ShutdownCauseHostQMPQuit        ShutdownCause = "host-qmp-quit"
	ShutdownCauseHostQMPSystemReset ShutdownCause = "host-qmp-system-reset"
	ShutdownCauseHostSignal         ShutdownCause = "host-signal" // such as SIGTERM
	ShutdownCauseHostUi             ShutdownCause = "host-ui"     // such as a closed window
	ShutdownCauseGuestShutdown      ShutdownCause = "guest-shutdown"
	ShutdownCauseGuestReset         ShutdownCause = "guest-reset"
	ShutdownCauseGuestPanic         ShutdownCause = "guest-panic"     // with the panic action shutdown
	ShutdownCauseSubsystemReset     ShutdownCause = "subsystem-reset" // a part of the machine, on its own
	ShutdownCauseSnapshotLoad       ShutdownCause = "snapshot-load"
)

// GuestPanicAction is what QEMU did when the guest panicked.
type GuestPanicAction string

// Values of GuestPanicAction.
const (
	GuestPanicActionPause    GuestPanicAction = "pause"
	GuestPanicActionPoweroff GuestPanicAction = "poweroff"
	GuestPanicActionRun      GuestPanicAction = "run" // the guest runs on
)

// GuestPanicInformation is what the guest said about its panic: Arg1 to Arg5 are of
// hyper-v, the rest is of s390.
type GuestPanicInformation struct {
	Type    GuestPanicInformationType `json:"type"`
	Arg1    uint64                    `json:"arg1,omitempty"`
	Arg2    uint64                    `json:"arg2,omitempty"`
	Arg3    uint64                    `json:"arg3,omitempty"`
	Arg4    uint64                    `json:"arg4,omitempty"`
	Arg5    uint64                    `json:"arg5,omitempty"`
	Core    uint32                    `json:"core,omitempty"`
	PswMask uint64                    `json:"psw-mask,omitempty"`
	PswAddr uint64                    `json:"psw-addr,omitempty"`
	Reason  S390CrashReason           `json:"reason,omitempty"`
}

// GuestPanicInformationType is who said something about a panic.
type GuestPanicInformationType string

// Values of GuestPanicInformationType.
const (
	GuestPanicInformationTypeHyperV GuestPanicInformationType = "hyper-v"
	GuestPanicInformationTypeS390   GuestPanicInformationType = "s390"
)

// S390CrashReason is why a guest on s390 has crashed.
type S390CrashReason string

// Values of S390CrashReason.
const (
	S390CrashReasonUnknown      S390CrashReason = "unknown"
	S390CrashReasonDisabledWait S390CrashReason = "disabled-wait"
	S390CrashReasonExtintLoop   S390CrashReason = "extint-loop"
	S390CrashReasonPgmintLoop   S390CrashReason = "pgmint-loop"
	S390CrashReasonOpintLoop    S390CrashReason = "opint-loop"
)
