package qapi

// MigrationInfo is the answer to query-migrate.
type MigrationInfo struct {
	Status                MigrationStatus   `json:"status,omitempty"` // empty: there was none
	RAM                   *MigrationStats   `json:"ram,omitempty"`
	VFIO                  *VfioStats        `json:"vfio,omitempty"`
	XBZRLECache           *XBZRLECacheStats `json:"xbzrle-cache,omitempty"`
	TotalTime             *int64            `json:"total-time,omitempty"`        // milliseconds since the start
	ExpectedDowntime      *int64            `json:"expected-downtime,omitempty"` // milliseconds; while it runs
	Downtime              *int64            `json:"downtime,omitempty"`          // milliseconds; when it has ended
	SetupTime             *int64            `json:"setup-time,omitempty"`        // milliseconds
	CPUThrottlePercentage *int64            `json:"cpu-throttle-percentage,omitempty"`
	ErrorDesc             string            `json:"error-desc,omitempty"`              // why it has failed; for people
	BlockedReasons        []string          `json:"blocked-reasons,omitempty"`         // why it can't start; for people
	PostcopyBlocktime     *uint32           `json:"postcopy-blocktime,omitempty"`      // milliseconds
	PostcopyVCPUBlocktime []uint32          `json:"postcopy-vcpu-blocktime,omitempty"` // milliseconds
	SocketAddress         []SocketAddress   `json:"socket-address,omitempty"`          // where the receiver waits
	// Microseconds (QEMU 8.1).
	DirtyLimitThrottleTimePerRound *uint64 `json:"dirty-limit-throttle-time-per-round,omitempty"`
	// Microseconds (QEMU 8.1).
	DirtyLimitRingFullTime *uint64 `json:"dirty-limit-ring-full-time,omitempty"`
}

// MigrationStats counts what was sent.
type MigrationStats struct {
	Transferred             int64   `json:"transferred"` // bytes
	Remaining               int64   `json:"remaining"`   // bytes
	Total                   int64   `json:"total"`       // bytes
	Duplicate               int64   `json:"duplicate"`   // pages of zeroes
	Normal                  int64   `json:"normal"`      // pages
	NormalBytes             int64   `json:"normal-bytes"`
	DirtyPagesRate          int64   `json:"dirty-pages-rate"` // pages a second
	Mbps                    float64 `json:"mbps"`             // megabits a second
	DirtySyncCount          int64   `json:"dirty-sync-count"`
	PostcopyRequests        int64   `json:"postcopy-requests"`
	PageSize                int64   `json:"page-size"` // bytes
	MultifdBytes            uint64  `json:"multifd-bytes"`
	PagesPerSecond          uint64  `json:"pages-per-second"`
	PrecopyBytes            uint64  `json:"precopy-bytes"`
	DowntimeBytes           uint64  `json:"downtime-bytes"`
	PostcopyBytes           uint64  `json:"postcopy-bytes"`
	DirtySyncMissedZeroCopy uint64  `json:"dirty-sync-missed-zero-copy"`
	Skipped                 int64   `json:"skipped,omitempty"` // always 0; until QEMU 9.0
}

// VfioStats counts what was sent of devices assigned to the guest.
type VfioStats struct {
	Transferred int64 `json:"transferred"` // bytes
}

// XBZRLECacheStats is how well pages are compressed against their last state.
type XBZRLECacheStats struct {
	CacheSize     uint64  `json:"cache-size"` // bytes
	Bytes         int64   `json:"bytes"`
	Pages         int64   `json:"pages"`
	CacheMiss     int64   `json:"cache-miss"`
	CacheMissRate float64 `json:"cache-miss-rate"`
	EncodingRate  float64 `json:"encoding-rate"`
	Overflow      int64   `json:"overflow"`
}

// MigrationStatus is how far a migration is.
type MigrationStatus string

// Values of MigrationStatus.
const (
	MigrationStatusNone                 MigrationStatus = "none"
	MigrationStatusSetup                MigrationStatus = "setup"
	MigrationStatusCancelling           MigrationStatus = "cancelling"
	MigrationStatusCancelled            MigrationStatus = "cancelled"
	MigrationStatusActive               MigrationStatus = "active"          // memory is sent
	MigrationStatusPostcopyActive       MigrationStatus = "postcopy-active" // the guest runs at the receiver
	MigrationStatusPostcopyPaused       MigrationStatus = "postcopy-paused"
	MigrationStatusPostcopyRecoverSetup MigrationStatus = "postcopy-recover-setup" // QEMU 9.1
	MigrationStatusPostcopyRecover      MigrationStatus = "postcopy-recover"
	MigrationStatusCompleted            MigrationStatus = "completed"
	MigrationStatusFailed               MigrationStatus = "failed"
	MigrationStatusPreSwitchover        MigrationStatus = "pre-switchover" // waits for MigrateContinue
	MigrationStatusDevice               MigrationStatus = "device"         // the devices' state is sent
	MigrationStatusWaitUnplug           MigrationStatus = "wait-unplug"    // waits for the guest to let its failover device go
)
