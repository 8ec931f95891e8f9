package qapi

// BlockStats are the counters of a device or a block node, and of those below it.
type BlockStats struct {
	Device         string              `json:"device,omitempty"`
	Qdev           string              `json:"qdev,omitempty"`
	NodeName       string              `json:"node-name,omitempty"`
	Stats          BlockDeviceStats    `json:"stats"`
	DriverSpecific *BlockStatsSpecific `json:"driver-specific,omitempty"`
	Parent         *BlockStats         `json:"parent,omitempty"`
	Backing        *BlockStats         `json:"backing,omitempty"`
}

// BlockDeviceStats counts since QEMU started. Operations that were merged count once in
// Operations and once in Merged.
type BlockDeviceStats struct {
	RdBytes                     int64                      `json:"rd_bytes"`
	WrBytes                     int64                      `json:"wr_bytes"`
	ZoneAppendBytes             int64                      `json:"zone_append_bytes"` // QEMU 8.1
	UnmapBytes                  int64                      `json:"unmap_bytes"`
	RdOperations                int64                      `json:"rd_operations"`
	WrOperations                int64                      `json:"wr_operations"`
	ZoneAppendOperations        int64                      `json:"zone_append_operations"` // QEMU 8.1
	FlushOperations             int64                      `json:"flush_operations"`
	UnmapOperations             int64                      `json:"unmap_operations"`
	RdTotalTimeNs               int64                      `json:"rd_total_time_ns"`
	WrTotalTimeNs               int64                      `json:"wr_total_time_ns"`
	ZoneAppendTotalTimeNs       int64                      `json:"zone_append_total_time_ns"` // QEMU 8.1
	FlushTotalTimeNs            int64                      `json:"flush_total_time_ns"`
	UnmapTotalTimeNs            int64                      `json:"unmap_total_time_ns"`
	WrHighestOffset             int64                      `json:"wr_highest_offset"` // bytes; the end of the furthest write
	RdMerged                    int64                      `json:"rd_merged"`
	WrMerged                    int64                      `json:"wr_merged"`
	ZoneAppendMerged            int64                      `json:"zone_append_merged"` // QEMU 8.1
	UnmapMerged                 int64                      `json:"unmap_merged"`
	IdleTimeNs                  *int64                     `json:"idle_time_ns,omitempty"` // since the last operation; nil: there was none
	FailedRdOperations          int64                      `json:"failed_rd_operations"`
	FailedWrOperations          int64                      `json:"failed_wr_operations"`
	FailedZoneAppendOperations  int64                      `json:"failed_zone_append_operations"` // QEMU 8.1
	FailedFlushOperations       int64                      `json:"failed_flush_operations"`
	FailedUnmapOperations       int64                      `json:"failed_unmap_operations"`
	InvalidRdOperations         int64                      `json:"invalid_rd_operations"`
	InvalidWrOperations         int64                      `json:"invalid_wr_operations"`
	InvalidZoneAppendOperations int64                      `json:"invalid_zone_append_operations"` // QEMU 8.1
	InvalidFlushOperations      int64                      `json:"invalid_flush_operations"`
	InvalidUnmapOperations      int64                      `json:"invalid_unmap_operations"`
	AccountInvalid              bool                       `json:"account_invalid"` // invalid operations count for idle time and latency
	AccountFailed               bool                       `json:"account_failed"`  // failed operations count for idle time and latency
	TimedStats                  []BlockDeviceTimedStats    `json:"timed_stats"`
	RdLatencyHistogram          *BlockLatencyHistogramInfo `json:"rd_latency_histogram,omitempty"`
	WrLatencyHistogram          *BlockLatencyHistogramInfo `json:"wr_latency_histogram,omitempty"`
	// QEMU 8.1.
	ZoneAppendLatencyHistogram *BlockLatencyHistogramInfo `json:"zone_append_latency_histogram,omitempty"`
	FlushLatencyHistogram      *BlockLatencyHistogramInfo `json:"flush_latency_histogram,omitempty"`
}

// BlockDeviceTimedStats are latencies and queue depths over an interval (stats-intervals
// of -drive).
type BlockDeviceTimedStats struct {
	IntervalLength          int64   `json:"interval_length"` // seconds
	MinRdLatencyNs          int64   `json:"min_rd_latency_ns"`
	MaxRdLatencyNs          int64   `json:"max_rd_latency_ns"`
	AvgRdLatencyNs          int64   `json:"avg_rd_latency_ns"`
	MinWrLatencyNs          int64   `json:"min_wr_latency_ns"`
	MaxWrLatencyNs          int64   `json:"max_wr_latency_ns"`
	AvgWrLatencyNs          int64   `json:"avg_wr_latency_ns"`
	MinZoneAppendLatencyNs  int64   `json:"min_zone_append_latency_ns"` // QEMU 8.1
	MaxZoneAppendLatencyNs  int64   `json:"max_zone_append_latency_ns"` // QEMU 8.1
	AvgZoneAppendLatencyNs  int64   `json:"avg_zone_append_latency_ns"` // QEMU 8.1
	MinFlushLatencyNs       int64   `json:"min_flush_latency_ns"`
	MaxFlushLatencyNs       int64   `json:"max_flush_latency_ns"`
	AvgFlushLatencyNs       int64   `json:"avg_flush_latency_ns"`
	AvgRdQueueDepth         float64 `json:"avg_rd_queue_depth"`
	AvgWrQueueDepth         float64 `json:"avg_wr_queue_depth"`
	AvgZoneAppendQueueDepth float64 `json:"avg_zone_append_queue_depth"` // QEMU 8.1
}

// BlockLatencyHistogramInfo counts operations by their latency.
type BlockLatencyHistogramInfo struct {
	Boundaries []uint64 `json:"boundaries"` // nanoseconds, between the bins
	Bins       []uint64 `json:"bins"`       // one more than boundaries
}

// BlockStatsSpecific are counters that only some drivers have: Discard those of file and
// host_device, the others those of nvme.
type BlockStatsSpecific struct {
	Driver            BlockdevDriver `json:"driver"`
	DiscardNbOk       uint64         `json:"discard-nb-ok,omitempty"`
	DiscardNbFailed   uint64         `json:"discard-nb-failed,omitempty"`
	DiscardBytesOk    uint64         `json:"discard-bytes-ok,omitempty"`
	CompletionErrors  uint64         `json:"completion-errors,omitempty"`
	AlignedAccesses   uint64         `json:"aligned-accesses,omitempty"`
	UnalignedAccesses uint64         `json:"unaligned-accesses,omitempty"`
}
