package qapi_test

import "strings"

// since has what QEMU 7.2 lacks, and the version that brought it: commands, events,
// members as Type.member, values as Type=value. Type.member? is needed before the
// version, and optional from it on.
var since = map[string]string{
	"BlockCommitArgs.backing-mask-protocol":               "9.0",
	"BlockDeviceInfo.active":                              "10.0",
	"BlockDeviceStats.failed_zone_append_operations":      "8.1",
	"BlockDeviceStats.invalid_zone_append_operations":     "8.1",
	"BlockDeviceStats.zone_append_bytes":                  "8.1",
	"BlockDeviceStats.zone_append_latency_histogram":      "8.1",
	"BlockDeviceStats.zone_append_merged":                 "8.1",
	"BlockDeviceStats.zone_append_operations":             "8.1",
	"BlockDeviceStats.zone_append_total_time_ns":          "8.1",
	"BlockDeviceTimedStats.avg_zone_append_latency_ns":    "8.1",
	"BlockDeviceTimedStats.avg_zone_append_queue_depth":   "8.1",
	"BlockDeviceTimedStats.max_zone_append_latency_ns":    "8.1",
	"BlockDeviceTimedStats.min_zone_append_latency_ns":    "8.1",
	"BlockExportOptions.allow-inactive":                   "10.0",
	"BlockIOErrorEvent.qom-path":                          "9.2",
	"BlockJobInfo.actively-synced":                        "8.2",
	"BlockLatencyHistogramSetArgs.boundaries-zap":         "8.1",
	"BlockStreamArgs.backing-mask-protocol":               "9.0",
	"BlockdevBackupArgs.discard-source":                   "9.1",
	"BlockdevOptions.active":                              "10.0",
	"CalcDirtyRateArgs.calc-time-unit":                    "8.2",
	"ChardevBackendKind=hub":                              "10.0",
	"ChardevPty.path":                                     "9.2",
	"ChardevSocket.reconnect-ms":                          "9.2",
	"CpuInfoFast.dedicated":                               "8.2",
	"CpuInfoFast.entitlement":                             "8.2",
	"CpuInstanceProperties.book-id":                       "8.2",
	"CpuInstanceProperties.drawer-id":                     "8.2",
	"CpuInstanceProperties.module-id":                     "9.1",
	"DirtyRateInfo.calc-time-unit":                        "8.2",
	"DumpGuestMemoryFormat=kdump-raw-lzo":                 "8.2",
	"DumpGuestMemoryFormat=kdump-raw-snappy":              "8.2",
	"DumpGuestMemoryFormat=kdump-raw-zlib":                "8.2",
	"ImageInfoSpecificKind=file":                          "8.0",
	"ImageInfoSpecificQCow2Encryption.detached-header":    "9.0",
	"InputButton=touch":                                   "8.1",
	"InputEventKind=mtt":                                  "8.1",
	"MachineInfo.acpi":                                    "8.0",
	"MemoryDeviceInfoKind=hv-balloon":                     "8.2",
	"MigrateArgs.channels":                                "8.2",
	"MigrateArgs.uri?":                                    "8.2",
	"MigrateIncomingArgs.channels":                        "8.2",
	"MigrateIncomingArgs.exit-on-error":                   "9.1",
	"MigrateIncomingArgs.uri?":                            "8.2",
	"MigrateSetParametersArgs.avail-switchover-bandwidth": "8.2",
	"MigrateSetParametersArgs.direct-io":                  "9.1",
	"MigrateSetParametersArgs.mode":                       "8.2",
	"MigrateSetParametersArgs.multifd-qatzip-level":       "9.2",
	"MigrateSetParametersArgs.vcpu-dirty-limit":           "8.1",
	"MigrateSetParametersArgs.zero-page-detection":        "9.0",
	"MigrationCapability=dirty-limit":                     "8.1",
	"MigrationCapability=mapped-ram":                      "9.0",
	"MigrationCapability=switchover-ack":                  "8.1",
	"MigrationInfo.dirty-limit-ring-full-time":            "8.1",
	"MigrationInfo.dirty-limit-throttle-time-per-round":   "8.1",
	"MigrationParameters.avail-switchover-bandwidth":      "8.2",
	"MigrationParameters.direct-io":                       "9.1",
	"MigrationParameters.mode":                            "8.2",
	"MigrationParameters.multifd-qatzip-level":            "9.2",
	"MigrationParameters.vcpu-dirty-limit":                "8.1",
	"MigrationParameters.zero-page-detection":             "9.0",
	"MigrationStatus=postcopy-recover-setup":              "9.1",
	"MultiFDCompression=qatzip":                           "9.2",
	"MultiFDCompression=qpl":                              "9.1",
	"MultiFDCompression=uadk":                             "9.1",
	"NbdServerOptionsLegacy.handshake-max-seconds":        "10.0",
	"NetClientDriver=af-xdp":                              "8.2",
	"QCryptoBlockInfoLUKS.detached-header":                "9.0",
	"QKeyCode=f13":                                        "8.0",
	"QKeyCode=f14":                                        "8.0",
	"QKeyCode=f15":                                        "8.0",
	"QKeyCode=f16":                                        "8.0",
	"QKeyCode=f17":                                        "8.0",
	"QKeyCode=f18":                                        "8.0",
	"QKeyCode=f19":                                        "8.0",
	"QKeyCode=f20":                                        "8.0",
	"QKeyCode=f21":                                        "8.0",
	"QKeyCode=f22":                                        "8.0",
	"QKeyCode=f23":                                        "8.0",
	"QKeyCode=f24":                                        "8.0",
	"StatsProvider=cryptodev":                             "8.0",
	"StatsTarget=cryptodev":                               "8.0",
	"command block-job-change":                            "8.2",
	"command blockdev-set-active":                         "10.0",
	"command query-migrationthreads":                      "8.0",
	"event GUEST_PVSHUTDOWN":                              "9.1",
	"event HV_BALLOON_STATUS_REPORT":                      "8.2",
	"event NETDEV_VHOST_USER_CONNECTED":                   "10.0",
	"event NETDEV_VHOST_USER_DISCONNECTED":                "10.0",
	"event VFIO_MIGRATION":                                "9.1",
	"query-dirty-rate.calc-time-unit":                     "8.2",
}

// until has what newer versions lack, and the first that does.
var until = map[string]string{
	"MigrateArgs.blk":        "9.1",
	"MigrateArgs.inc":        "9.1",
	"MigrationStats.skipped": "9.1",
	"StatusInfo.singlestep":  "9.0",
	"event MEM_UNPLUG_ERROR": "9.1",
}

// otherTargets are events that only QEMUs for other processors have.
var otherTargets = map[string]bool{"CPU_POLARIZATION_CHANGE": true}

// leftOut has what this package does without, on purpose: members, values, and commands
// whose arguments can't be given.
var leftOut = map[string]bool{
	// Names that QEMU keeps for old clients.
	"BlockCommitArgs.base":            true, // base-node
	"BlockCommitArgs.top":             true, // top-node
	"BlockStreamArgs.base":            true, // base-node
	"BlockIOThrottle.device":          true, // id, and so on
	"BlockdevChangeMediumArgs.device": true,
	"BlockdevOpenTrayArgs.device":     true,
	"EjectArgs.device":                true,
	"idArgs.device":                   true,
	"MigrateArgs.detach":              true, // it always is
	"TransactionAction=drive-backup":  true, // blockdev-backup

	// Large, and for QEMU's own tests.
	"query-machines":           true,
	"MachineInfo.compat-props": true,

	// COLO, and what QEMU 9.1 dropped from migration.
	"MigrationStatus=colo":                          true,
	"MigrationCapability=block":                     true,
	"MigrationCapability=compress":                  true,
	"MigrationInfo.compression":                     true,
	"MigrationInfo.disk":                            true,
	"MigrateSetParametersArgs.block-incremental":    true,
	"MigrateSetParametersArgs.compress-level":       true,
	"MigrateSetParametersArgs.compress-threads":     true,
	"MigrateSetParametersArgs.compress-wait-thread": true,
	"MigrateSetParametersArgs.decompress-threads":   true,
	"MigrationParameters.block-incremental":         true,
	"MigrationParameters.compress-level":            true,
	"MigrationParameters.compress-threads":          true,
	"MigrationParameters.compress-wait-thread":      true,
	"MigrationParameters.decompress-threads":        true,

	// QEMU 7.2 declares an ImageInfo, of which it fills only a few.
	"VmdkExtentInfo.actual-size":             true,
	"VmdkExtentInfo.backing-filename":        true,
	"VmdkExtentInfo.backing-filename-format": true,
	"VmdkExtentInfo.backing-image":           true,
	"VmdkExtentInfo.dirty-flag":              true,
	"VmdkExtentInfo.encrypted":               true,
	"VmdkExtentInfo.format-specific":         true,
	"VmdkExtentInfo.full-backing-filename":   true,
	"VmdkExtentInfo.snapshots":               true,
}

// always has what is optional and yet always sent.
var always = map[string]bool{"idArgs.id": true} // to blockdev-close-tray

// untyped says of commands that this package has no function for them.
func untyped(command string) bool {
	for _, prefix := range []string{"x-", "xen-", "cxl-", "query-rocker", "query-sev", "query-sgx", "query-tpm", "replay-", "trace-event-"} {
		if strings.HasPrefix(command, prefix) {
			return true
		}
	}
	switch command {
	case "qmp_capabilities": // the client's own
	case "human-monitor-command": // qmp.Manager.HMP
	case "drive-backup", "drive-mirror": // older forms of blockdev-backup and blockdev-mirror
	case "memsave", "pmemsave", "dumpdtb", "client_migrate_info", "request-ebpf", "device-sync-config",
		"query-audiodevs", "query-cryptodev", "query-display-options", "query-hv-balloon-status-report",
		"query-pr-managers", "query-replay", "query-colo-status", "query-xen-replication-status",
		"query-vcpu-dirty-limit", "set-vcpu-dirty-limit", "cancel-vcpu-dirty-limit",
		"set-numa-node", "sev-inject-launch-secret":
	default:
		return false
	}
	return true
}
