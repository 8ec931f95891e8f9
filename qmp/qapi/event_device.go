package qapi

// DeviceDeletedEvent says that a device is gone.
type DeviceDeletedEvent struct {
	Device string `json:"device,omitempty"` // its id; empty: it had none
	Path   string `json:"path"`             // its QOM path
}

// EventName returns [EventDeviceDeleted].
func (DeviceDeletedEvent) EventName() string { return EventDeviceDeleted }

// DeviceUnplugGuestErrorEvent says that the guest refuses to let a device go.
type DeviceUnplugGuestErrorEvent struct {
	Device string `json:"device,omitempty"` // its id; empty: it has none
	Path   string `json:"path"`             // its QOM path
}

// EventName returns [EventDeviceUnplugGuestError].
func (DeviceUnplugGuestErrorEvent) EventName() string { return EventDeviceUnplugGuestError }

// MemUnplugErrorEvent says that the guest refuses to let memory go; until QEMU 9.0. It comes with
// [DeviceUnplugGuestErrorEvent], which later ones have alone.
type MemUnplugErrorEvent struct {
	Device string `json:"device"` // id; empty: it has none
	Msg    string `json:"msg"`    // for people
}

// EventName returns [EventMemUnplugError].
func (MemUnplugErrorEvent) EventName() string { return EventMemUnplugError }

// MemoryDeviceSizeChangeEvent says that the guest uses more or less of a virtio-mem device.
type MemoryDeviceSizeChangeEvent struct {
	ID      string `json:"id,omitempty"`
	Size    uint64 `json:"size"` // bytes
	QOMPath string `json:"qom-path"`
}

// EventName returns [EventMemoryDeviceSizeChange].
func (MemoryDeviceSizeChangeEvent) EventName() string { return EventMemoryDeviceSizeChange }

// MemoryFailureEvent says that the host has found bad memory.
type MemoryFailureEvent struct {
	Recipient MemoryFailureRecipient `json:"recipient"`
	Action    MemoryFailureAction    `json:"action"`
	Flags     MemoryFailureFlags     `json:"flags"`
}

// EventName returns [EventMemoryFailure].
func (MemoryFailureEvent) EventName() string { return EventMemoryFailure }

// BalloonChangeEvent says that the guest has given or taken memory.
type BalloonChangeEvent struct {
	Actual int64 `json:"actual"` // bytes that it has
}

// EventName returns [EventBalloonChange].
func (BalloonChangeEvent) EventName() string { return EventBalloonChange }

// HvBalloonStatusReportEvent says that a guest of Hyper-V's balloon has told how much
// memory it has. Since QEMU 8.2.
type HvBalloonStatusReportEvent struct {
	Committed uint64 `json:"committed"` // bytes
	Available uint64 `json:"available"` // bytes
}

// EventName returns [EventHvBalloonStatusReport].
func (HvBalloonStatusReportEvent) EventName() string { return EventHvBalloonStatusReport }

// ACPIDeviceOSTEvent says that the guest has told what it did about a plugged device.
type ACPIDeviceOSTEvent struct {
	Info ACPIOSTInfo `json:"info"`
}

// EventName returns [EventACPIDeviceOST].
func (ACPIDeviceOSTEvent) EventName() string { return EventACPIDeviceOST }

// ACPIOSTInfo is what a guest did about a device (ACPI specification, _OST).
type ACPIOSTInfo struct {
	Device   string       `json:"device,omitempty"` // id
	Slot     string       `json:"slot"`
	SlotType ACPISlotType `json:"slot-type"`
	Source   int64        `json:"source"` // 3: removal; 1: insertion
	Status   int64        `json:"status"` // 0: it went well
}

// ACPISlotType is a kind of plugged device.
type ACPISlotType string

// Values of ACPISlotType.
const (
	ACPISlotTypeDIMM ACPISlotType = "DIMM"
	ACPISlotTypeCPU  ACPISlotType = "CPU"
)

// CPUPolarizationChangeEvent says that a guest on s390 has changed its CPUs'
// polarization. Since QEMU 8.2.
type CPUPolarizationChangeEvent struct {
	Polarization string `json:"polarization"`
}

// EventName returns [EventCPUPolarizationChange].
func (CPUPolarizationChangeEvent) EventName() string { return EventCPUPolarizationChange }

// VserportChangeEvent says that something in the guest has opened or closed a virtio serial port.
type VserportChangeEvent struct {
	ID   string `json:"id"` // of the port
	Open bool   `json:"open"`
}

// EventName returns [EventVserportChange].
func (VserportChangeEvent) EventName() string { return EventVserportChange }

// MemoryFailureRecipient is whose memory is bad.
type MemoryFailureRecipient string

// Values of MemoryFailureRecipient.
const (
	MemoryFailureRecipientHypervisor MemoryFailureRecipient = "hypervisor" // QEMU's own
	MemoryFailureRecipientGuest      MemoryFailureRecipient = "guest"
)

// MemoryFailureAction is what QEMU did about bad memory.
type MemoryFailureAction string

// Values of MemoryFailureAction.
const (
	MemoryFailureActionIgnore MemoryFailureAction = "ignore"
	MemoryFailureActionInject MemoryFailureAction = "inject" // told the guest
	MemoryFailureActionFatal  MemoryFailureAction = "fatal"  // can't go on
	MemoryFailureActionReset  MemoryFailureAction = "reset"  // reset the machine
)

// MemoryFailureFlags says more about bad memory.
type MemoryFailureFlags struct {
	ActionRequired bool `json:"action-required"` // the guest needs the memory now
	Recursive      bool `json:"recursive"`       // it was found while the guest handled another failure
}
