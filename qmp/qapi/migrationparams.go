package qapi

// MigrateSetParametersArgs are the arguments of migrate-set-parameters. What is nil or
// empty stays as it is; an empty string that is not nil is none.
type MigrateSetParametersArgs struct {
	AnnounceInitial          *uint64 `json:"announce-initial,omitempty"` // milliseconds; see AnnounceParameters
	AnnounceMax              *uint64 `json:"announce-max,omitempty"`     // milliseconds
	AnnounceRounds           *uint64 `json:"announce-rounds,omitempty"`
	AnnounceStep             *uint64 `json:"announce-step,omitempty"`              // milliseconds
	ThrottleTriggerThreshold *uint8  `json:"throttle-trigger-threshold,omitempty"` // percent
	CPUThrottleInitial       *uint8  `json:"cpu-throttle-initial,omitempty"`       // percent
	CPUThrottleIncrement     *uint8  `json:"cpu-throttle-increment,omitempty"`     // percent
	CPUThrottleTailslow      *bool   `json:"cpu-throttle-tailslow,omitempty"`
	TLSCreds                 *string `json:"tls-creds,omitempty"` // id of a tls-creds object
	TLSHostname              *string `json:"tls-hostname,omitempty"`
	TLSAuthz                 *string `json:"tls-authz,omitempty"`
	MaxBandwidth             *uint64 `json:"max-bandwidth,omitempty"` // bytes a second
	// Bytes a second; 0: QEMU measures (QEMU 8.2).
	AvailSwitchoverBandwidth *uint64 `json:"avail-switchover-bandwidth,omitempty"`
	// Milliseconds that the guest may stand still.
	DowntimeLimit   *uint64 `json:"downtime-limit,omitempty"`
	MultifdChannels *uint8  `json:"multifd-channels,omitempty"`
	XBZRLECacheSize *uint64 `json:"xbzrle-cache-size,omitempty"` // bytes
	// Bytes a second; 0: no limit.
	MaxPostcopyBandwidth *uint64                     `json:"max-postcopy-bandwidth,omitempty"`
	MaxCPUThrottle       *uint8                      `json:"max-cpu-throttle,omitempty"` // percent
	MultifdCompression   MultiFDCompression          `json:"multifd-compression,omitempty"`
	MultifdZlibLevel     *uint8                      `json:"multifd-zlib-level,omitempty"`
	MultifdQatzipLevel   *uint8                      `json:"multifd-qatzip-level,omitempty"` // QEMU 9.2
	MultifdZstdLevel     *uint8                      `json:"multifd-zstd-level,omitempty"`
	BlockBitmapMapping   *[]BitmapMigrationNodeAlias `json:"block-bitmap-mapping,omitempty"`
	VCPUDirtyLimit       *uint64                     `json:"vcpu-dirty-limit,omitempty"`    // MB a second (QEMU 8.1)
	Mode                 MigMode                     `json:"mode,omitempty"`                // QEMU 8.2
	ZeroPageDetection    ZeroPageDetection           `json:"zero-page-detection,omitempty"` // QEMU 9.0
	DirectIO             *bool                       `json:"direct-io,omitempty"`           // of file: past the host's cache (QEMU 9.1)
}

// MigrationParameters is the answer to query-migrate-parameters, in the units of
// [MigrateSetParametersArgs].
type MigrationParameters struct {
	AnnounceInitial          *uint64                     `json:"announce-initial,omitempty"`
	AnnounceMax              *uint64                     `json:"announce-max,omitempty"`
	AnnounceRounds           *uint64                     `json:"announce-rounds,omitempty"`
	AnnounceStep             *uint64                     `json:"announce-step,omitempty"`
	ThrottleTriggerThreshold *uint8                      `json:"throttle-trigger-threshold,omitempty"`
	CPUThrottleInitial       *uint8                      `json:"cpu-throttle-initial,omitempty"`
	CPUThrottleIncrement     *uint8                      `json:"cpu-throttle-increment,omitempty"`
	CPUThrottleTailslow      *bool                       `json:"cpu-throttle-tailslow,omitempty"`
	TLSCreds                 string                      `json:"tls-creds,omitempty"`
	TLSHostname              string                      `json:"tls-hostname,omitempty"`
	TLSAuthz                 string                      `json:"tls-authz,omitempty"`
	MaxBandwidth             *uint64                     `json:"max-bandwidth,omitempty"`
	AvailSwitchoverBandwidth *uint64                     `json:"avail-switchover-bandwidth,omitempty"` // QEMU 8.2
	DowntimeLimit            *uint64                     `json:"downtime-limit,omitempty"`
	MultifdChannels          *uint8                      `json:"multifd-channels,omitempty"`
	XBZRLECacheSize          *uint64                     `json:"xbzrle-cache-size,omitempty"`
	MaxPostcopyBandwidth     *uint64                     `json:"max-postcopy-bandwidth,omitempty"`
	MaxCPUThrottle           *uint8                      `json:"max-cpu-throttle,omitempty"`
	MultifdCompression       MultiFDCompression          `json:"multifd-compression,omitempty"`
	MultifdZlibLevel         *uint8                      `json:"multifd-zlib-level,omitempty"`
	MultifdQatzipLevel       *uint8                      `json:"multifd-qatzip-level,omitempty"` // QEMU 9.2
	MultifdZstdLevel         *uint8                      `json:"multifd-zstd-level,omitempty"`
	BlockBitmapMapping       *[]BitmapMigrationNodeAlias `json:"block-bitmap-mapping,omitempty"`
	VCPUDirtyLimit           *uint64                     `json:"vcpu-dirty-limit,omitempty"`    // QEMU 8.1
	Mode                     MigMode                     `json:"mode,omitempty"`                // QEMU 8.2
	ZeroPageDetection        ZeroPageDetection           `json:"zero-page-detection,omitempty"` // QEMU 9.0
	DirectIO                 *bool                       `json:"direct-io,omitempty"`           // QEMU 9.1
}

// BitmapMigrationNodeAlias says which bitmaps of a node go along, under what names.
type BitmapMigrationNodeAlias struct {
	NodeName string                       `json:"node-name"`
	Alias    string                       `json:"alias"`
	Bitmaps  []BitmapMigrationBitmapAlias `json:"bitmaps"`
}

// BitmapMigrationBitmapAlias is the name of a bitmap on the wire.
type BitmapMigrationBitmapAlias struct {
	Name      string                               `json:"name"`
	Alias     string                               `json:"alias"`
	Transform *BitmapMigrationBitmapAliasTransform `json:"transform,omitempty"`
}

// BitmapMigrationBitmapAliasTransform is what changes in a bitmap on the way.
type BitmapMigrationBitmapAliasTransform struct {
	Persistent *bool `json:"persistent,omitempty"` // nil: as it was
}

// MigrationCapabilityStatus is a feature of migration, on or off.
type MigrationCapabilityStatus struct {
	Capability MigrationCapability `json:"capability"`
	State      bool                `json:"state"`
}

// MigrationCapability is a feature of migration.
type MigrationCapability string

// Values of MigrationCapability.
const (
	MigrationCapabilityXBZRLE                MigrationCapability = "xbzrle"
	MigrationCapabilityRDMAPinAll            MigrationCapability = "rdma-pin-all"
	MigrationCapabilityAutoConverge          MigrationCapability = "auto-converge" // slow the guest down when it writes faster than is sent
	MigrationCapabilityZeroBlocks            MigrationCapability = "zero-blocks"
	MigrationCapabilityEvents                MigrationCapability = "events"       // send MigrationEvent
	MigrationCapabilityPostcopyRAM           MigrationCapability = "postcopy-ram" // MigrateStartPostcopy works
	MigrationCapabilityReleaseRAM            MigrationCapability = "release-ram"
	MigrationCapabilityReturnPath            MigrationCapability = "return-path"
	MigrationCapabilityPauseBeforeSwitchover MigrationCapability = "pause-before-switchover" // wait for MigrateContinue before the end
	MigrationCapabilityMultifd               MigrationCapability = "multifd"                 // several connections
	MigrationCapabilityDirtyBitmaps          MigrationCapability = "dirty-bitmaps"
	MigrationCapabilityPostcopyBlocktime     MigrationCapability = "postcopy-blocktime"
	MigrationCapabilityLateBlockActivate     MigrationCapability = "late-block-activate"
	MigrationCapabilityXIgnoreShared         MigrationCapability = "x-ignore-shared" // shared memory is not sent
	MigrationCapabilityValidateUUID          MigrationCapability = "validate-uuid"
	MigrationCapabilityBackgroundSnapshot    MigrationCapability = "background-snapshot" // the guest runs while its state is saved
	MigrationCapabilityZeroCopySend          MigrationCapability = "zero-copy-send"
	MigrationCapabilityPostcopyPreempt       MigrationCapability = "postcopy-preempt"
	MigrationCapabilitySwitchoverAck         MigrationCapability = "switchover-ack" // QEMU 8.1
	MigrationCapabilityDirtyLimit            MigrationCapability = "dirty-limit"    // QEMU 8.1
	MigrationCapabilityMappedRAM             MigrationCapability = "mapped-ram"     // to a file: each page has its place (QEMU 9.0)
)

// MultiFDCompression is how the connections of multifd compress.
type MultiFDCompression string

// Values of MultiFDCompression.
const (
	MultiFDCompressionNone   MultiFDCompression = "none"
	MultiFDCompressionZlib   MultiFDCompression = "zlib"
	MultiFDCompressionZstd   MultiFDCompression = "zstd"
	MultiFDCompressionQatzip MultiFDCompression = "qatzip" // QEMU 9.2
	MultiFDCompressionQpl    MultiFDCompression = "qpl"    // QEMU 9.1
	MultiFDCompressionUadk   MultiFDCompression = "uadk"   // QEMU 9.1
)

// MigMode is a mode of migration.
type MigMode string

// Values of MigMode.
const (
	MigModeNormal      MigMode = "normal"
	MigModeCPRReboot   MigMode = "cpr-reboot"   // to a file, over a reboot of the host
	MigModeCPRTransfer MigMode = "cpr-transfer" // to a new QEMU on this host, that takes over the memory
)

// ZeroPageDetection is who looks for pages of zeroes.
type ZeroPageDetection string

// Values of ZeroPageDetection.
const (
	ZeroPageDetectionNone    ZeroPageDetection = "none"
	ZeroPageDetectionLegacy  ZeroPageDetection = "legacy"
	ZeroPageDetectionMultifd ZeroPageDetection = "multifd"
)
