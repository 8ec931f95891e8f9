package qapi

import (
	"context"

	"github.com/maqet/maqet/qmp"
)

// QueryMemorySizeSummary returns how much memory the guest has.
func QueryMemorySizeSummary(ctx context.Context, e qmp.Executor) (MemoryInfo, error) {
	return qmp.Do[MemoryInfo](ctx, e, "query-memory-size-summary", nil)
}

// QueryMemoryDevices lists plugged memory.
func QueryMemoryDevices(ctx context.Context, e qmp.Executor) ([]MemoryDeviceInfo, error) {
	return qmp.Do[[]MemoryDeviceInfo](ctx, e, "query-memory-devices", nil)
}

// QueryMemdev lists the memory backends.
func QueryMemdev(ctx context.Context, e qmp.Executor) ([]Memdev, error) {
	return qmp.Do[[]Memdev](ctx, e, "query-memdev", nil)
}

// Balloon asks the guest to keep only so many bytes of memory; [BalloonChangeEvent]
// says how far it is. It needs a balloon device and the guest's driver.
func Balloon(ctx context.Context, e qmp.Executor, value int64) error {
	return run(ctx, e, "balloon", struct {
		Value int64 `json:"value"`
	}{value})
}

// QueryBalloon returns how much memory the balloon leaves the guest. It is an error of
// class DeviceNotActive when there is no balloon.
func QueryBalloon(ctx context.Context, e qmp.Executor) (BalloonInfo, error) {
	return qmp.Do[BalloonInfo](ctx, e, "query-balloon", nil)
}

// MemoryInfo is the answer to query-memory-size-summary.
type MemoryInfo struct {
	BaseMemory uint64 `json:"base-memory"` // bytes that it was started with
	// Bytes in DIMMs; nil: the machine can't have any.
	PluggedMemory *uint64 `json:"plugged-memory,omitempty"`
}

// BalloonInfo is the answer to query-balloon.
type BalloonInfo struct {
	Actual int64 `json:"actual"` // bytes that the guest has
}

// Memdev is a memory backend.
type Memdev struct {
	ID        string        `json:"id,omitempty"`
	Size      uint64        `json:"size"`              // bytes
	Merge     bool          `json:"merge"`             // the host may merge equal pages (KSM)
	Dump      bool          `json:"dump"`              // part of a core dump of QEMU
	Prealloc  bool          `json:"prealloc"`          // taken from the host at the start
	Share     bool          `json:"share"`             // other processes see writes
	Reserve   *bool         `json:"reserve,omitempty"` // swap is reserved for it; nil: the host does not say
	HostNodes []uint16      `json:"host-nodes"`        // NUMA nodes of the host that Policy is about
	Policy    HostMemPolicy `json:"policy"`
}

// HostMemPolicy says which NUMA nodes of the host memory comes from (mbind(2)).
type HostMemPolicy string

// Values of HostMemPolicy.
const (
	HostMemPolicyDefault    HostMemPolicy = "default"
	HostMemPolicyPreferred  HostMemPolicy = "preferred"
	HostMemPolicyBind       HostMemPolicy = "bind"
	HostMemPolicyInterleave HostMemPolicy = "interleave"
)

// MemoryDeviceInfo is plugged memory. Data is [PCDIMMDeviceInfo] for dimm and nvdimm,
// else [VirtioPMEMDeviceInfo], [VirtioMEMDeviceInfo], [SgxEPCDeviceInfo],
// [HvBalloonDeviceInfo], or a json.RawMessage for a type that this package does not
// know.
type MemoryDeviceInfo struct {
	Type MemoryDeviceInfoKind `json:"type"`
	Data any                  `json:"data"`
}

// UnmarshalJSON implements json.Unmarshaler.
func (i *MemoryDeviceInfo) UnmarshalJSON(data []byte) error {
	return unmarshalUnion(data, &i.Type, &i.Data, memoryDeviceInfoBranch)
}

func memoryDeviceInfoBranch(kind MemoryDeviceInfoKind) any {
	switch kind {
	case MemoryDeviceInfoKindDIMM, MemoryDeviceInfoKindNVDIMM:
		return new(PCDIMMDeviceInfo)
	case MemoryDeviceInfoKindVirtioPMEM:
		return new(VirtioPMEMDeviceInfo)
	case MemoryDeviceInfoKindVirtioMem:
		return new(VirtioMEMDeviceInfo)
	case MemoryDeviceInfoKindSGXEPC:
		return new(SgxEPCDeviceInfo)
	case MemoryDeviceInfoKindHvBalloon:
		return new(HvBalloonDeviceInfo)
	}
	return nil
}

// MemoryDeviceInfoKind is a kind of plugged memory.
type MemoryDeviceInfoKind string

// Values of MemoryDeviceInfoKind.
const (
	MemoryDeviceInfoKindDIMM       MemoryDeviceInfoKind = "dimm"
	MemoryDeviceInfoKindNVDIMM     MemoryDeviceInfoKind = "nvdimm"
	MemoryDeviceInfoKindVirtioPMEM MemoryDeviceInfoKind = "virtio-pmem"
	MemoryDeviceInfoKindVirtioMem  MemoryDeviceInfoKind = "virtio-mem"
	MemoryDeviceInfoKindSGXEPC     MemoryDeviceInfoKind = "sgx-epc"
	MemoryDeviceInfoKindHvBalloon  MemoryDeviceInfoKind = "hv-balloon" // QEMU 8.2
)

// PCDIMMDeviceInfo is a DIMM.
type PCDIMMDeviceInfo struct {
	ID           string `json:"id,omitempty"`
	Addr         int64  `json:"addr"` // in the guest
	Size         int64  `json:"size"` // bytes
	Slot         int64  `json:"slot"`
	Node         int64  `json:"node"`   // NUMA node of the guest
	Memdev       string `json:"memdev"` // QOM path of its backend
	Hotplugged   bool   `json:"hotplugged"`
	Hotpluggable bool   `json:"hotpluggable"`
}

// VirtioPMEMDeviceInfo is persistent memory over virtio.
type VirtioPMEMDeviceInfo struct {
	ID      string `json:"id,omitempty"`
	Memaddr uint64 `json:"memaddr"` // in the guest
	Size    uint64 `json:"size"`    // bytes
	Memdev  string `json:"memdev"`  // QOM path of its backend
}

// VirtioMEMDeviceInfo is memory over virtio whose size can be changed.
type VirtioMEMDeviceInfo struct {
	ID            string `json:"id,omitempty"`
	Memaddr       uint64 `json:"memaddr"`        // in the guest
	RequestedSize uint64 `json:"requested-size"` // bytes that the guest should use
	Size          uint64 `json:"size"`           // bytes that it uses
	MaxSize       uint64 `json:"max-size"`       // bytes that it may use
	BlockSize     uint64 `json:"block-size"`     // bytes that it takes at once
	Node          int64  `json:"node"`           // NUMA node of the guest
	Memdev        string `json:"memdev"`         // QOM path of its backend
}

// SgxEPCDeviceInfo is memory for SGX.
type SgxEPCDeviceInfo struct {
	ID      string `json:"id,omitempty"`
	Memaddr uint64 `json:"memaddr"` // in the guest
	Size    uint64 `json:"size"`    // bytes
	Node    int64  `json:"node"`    // NUMA node of the guest
	Memdev  string `json:"memdev"`  // QOM path of its backend
}

// HvBalloonDeviceInfo is memory that Hyper-V's balloon can plug.
type HvBalloonDeviceInfo struct {
	ID      string  `json:"id,omitempty"`
	Memaddr *uint64 `json:"memaddr,omitempty"` // in the guest
	MaxSize uint64  `json:"max-size"`          // bytes
	Memdev  string  `json:"memdev,omitempty"`  // QOM path of its backend
}
