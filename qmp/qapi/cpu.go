package qapi

import (
	"context"

	"github.com/maqet/maqet/qmp"
)

// QueryCPUsFast lists the virtual CPUs, without a pause of the guest.
func QueryCPUsFast(ctx context.Context, e qmp.Executor) ([]CpuInfoFast, error) {
	return qmp.Do[[]CpuInfoFast](ctx, e, "query-cpus-fast", nil)
}

// QueryHotpluggableCPUs lists the places for CPUs, taken or not; the machine type must
// have them.
func QueryHotpluggableCPUs(ctx context.Context, e qmp.Executor) ([]HotpluggableCPU, error) {
	return qmp.Do[[]HotpluggableCPU](ctx, e, "query-hotpluggable-cpus", nil)
}

// QueryIOThreads lists the I/O threads.
func QueryIOThreads(ctx context.Context, e qmp.Executor) ([]IOThreadInfo, error) {
	return qmp.Do[[]IOThreadInfo](ctx, e, "query-iothreads", nil)
}

// QueryPCI lists the PCI devices by bus.
func QueryPCI(ctx context.Context, e qmp.Executor) ([]PciInfo, error) {
	return qmp.Do[[]PciInfo](ctx, e, "query-pci", nil)
}

// CpuInfoFast is a virtual CPU.
type CpuInfoFast struct {
	CPUIndex    int64                  `json:"cpu-index"`
	QOMPath     string                 `json:"qom-path"`
	ThreadID    int64                  `json:"thread-id"` // the host's thread
	Props       *CpuInstanceProperties `json:"props,omitempty"`
	Target      string                 `json:"target"`                // architecture, such as x86_64
	CPUState    string                 `json:"cpu-state,omitempty"`   // of s390x
	Dedicated   bool                   `json:"dedicated,omitempty"`   // of s390x (QEMU 8.2)
	Entitlement string                 `json:"entitlement,omitempty"` // of s390x (QEMU 8.2)
}

// CpuInstanceProperties is where a CPU sits. Only what the machine type has is set.
type CpuInstanceProperties struct {
	NodeID    *int64 `json:"node-id,omitempty"`
	DrawerID  *int64 `json:"drawer-id,omitempty"` // QEMU 8.2
	BookID    *int64 `json:"book-id,omitempty"`   // QEMU 8.2
	SocketID  *int64 `json:"socket-id,omitempty"`
	DieID     *int64 `json:"die-id,omitempty"`
	ClusterID *int64 `json:"cluster-id,omitempty"`
	ModuleID  *int64 `json:"module-id,omitempty"` // QEMU 9.1
	CoreID    *int64 `json:"core-id,omitempty"`
	ThreadID  *int64 `json:"thread-id,omitempty"`
}

// HotpluggableCPU is a place for a CPU.
type HotpluggableCPU struct {
	Type       string                `json:"type"`               // the driver for DeviceAdd
	VCPUsCount int64                 `json:"vcpus-count"`        // virtual CPUs that come at once
	Props      CpuInstanceProperties `json:"props"`              // arguments for DeviceAdd
	QOMPath    string                `json:"qom-path,omitempty"` // empty: the place is free
}

// IOThreadInfo is an I/O thread.
type IOThreadInfo struct {
	ID          string `json:"id"`
	ThreadID    int64  `json:"thread-id"`     // the host's thread
	PollMaxNs   int64  `json:"poll-max-ns"`   // 0: it does not poll
	PollGrow    int64  `json:"poll-grow"`     // factor; 0: QEMU's
	PollShrink  int64  `json:"poll-shrink"`   // divisor; 0: QEMU's
	AIOMaxBatch int64  `json:"aio-max-batch"` // requests; 0: QEMU's
}

// PciInfo is a PCI bus.
type PciInfo struct {
	Bus     int64           `json:"bus"`
	Devices []PciDeviceInfo `json:"devices"`
}

// PciDeviceInfo is one function of a PCI device.
type PciDeviceInfo struct {
	Bus       int64             `json:"bus"`
	Slot      int64             `json:"slot"`
	Function  int64             `json:"function"`
	ClassInfo PciDeviceClass    `json:"class_info"`
	ID        PciDeviceId       `json:"id"`
	IRQ       *int64            `json:"irq,omitempty"`
	IRQPin    int64             `json:"irq_pin"` // 0: none; 1: INTA, ...
	QdevID    string            `json:"qdev_id"` // its id; empty: none was given
	PCIBridge *PciBridgeInfo    `json:"pci_bridge,omitempty"`
	Regions   []PciMemoryRegion `json:"regions"`
}

// PciDeviceClass is the class of a PCI device.
type PciDeviceClass struct {
	Desc  string `json:"desc,omitempty"`
	Class int64  `json:"class"`
}

// PciDeviceId says who made a PCI device, and what it is.
type PciDeviceId struct {
	Device          int64  `json:"device"`
	Vendor          int64  `json:"vendor"`
	Subsystem       *int64 `json:"subsystem,omitempty"`
	SubsystemVendor *int64 `json:"subsystem-vendor,omitempty"`
}

// PciBridgeInfo is a bridge and what is behind it.
type PciBridgeInfo struct {
	Bus     PciBusInfo      `json:"bus"`
	Devices []PciDeviceInfo `json:"devices,omitempty"`
}

// PciBusInfo is the bus behind a bridge.
type PciBusInfo struct {
	Number            int64          `json:"number"`      // of the bus that the bridge is on
	Secondary         int64          `json:"secondary"`   // of the bus behind the bridge
	Subordinate       int64          `json:"subordinate"` // highest number behind the bridge
	IORange           PciMemoryRange `json:"io_range"`
	MemoryRange       PciMemoryRange `json:"memory_range"`
	PrefetchableRange PciMemoryRange `json:"prefetchable_range"`
}

// PciMemoryRange is a range of addresses.
type PciMemoryRange struct {
	Base  int64 `json:"base"`
	Limit int64 `json:"limit"`
}

// PciMemoryRegion is a range of addresses that a device answers.
type PciMemoryRegion struct {
	Bar       int64  `json:"bar"`     // number of its base address register
	Type      string `json:"type"`    // "io" or "memory"
	Address   int64  `json:"address"` // -1: the guest has given it none
	Size      int64  `json:"size"`
	Prefetch  bool   `json:"prefetch,omitempty"`
	MemType64 bool   `json:"mem_type_64,omitempty"`
}
