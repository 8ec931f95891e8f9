package qmp

// The one list of QEMU's commands by class: those of 7.2 and what was added up to 10.0
// (QEMU QMP Reference Manual).

// ClassOf returns a command's class. A command that is not in the list, of another
// vendor or of a newer QEMU, is [Privileged].
func ClassOf(command string) Class {
	class, _ := classify(command)
	return class
}

// classify also says whether the list has the command.
func classify(command string) (class Class, listed bool) {
	switch {
	case isReadOnly(command):
		return ReadOnly, true
	case isNormal(command):
		return Normal, true
	case isDangerous(command):
		return Dangerous, true
	}
	return Privileged, isPrivileged(command)
}

// isReadOnly: what only asks. qmp_capabilities is answered before any other.
func isReadOnly(command string) bool {
	switch command {
	case "device-list-properties", "qmp_capabilities", "qom-get", "qom-list", "qom-list-get",
		"qom-list-properties", "qom-list-types", "query-accelerators", "query-acpi-ospm-status",
		"query-audiodevs", "query-balloon", "query-block", "query-block-exports", "query-block-jobs", "query-blockstats",
		"query-chardev", "query-chardev-backends", "query-colo-status", "query-command-line-options",
		"query-commands", "query-cpu-definitions", "query-cpu-model-baseline", "query-cpu-model-comparison",
		"query-cpu-model-expansion", "query-cpus-fast", "query-cryptodev", "query-current-machine", "query-dirty-rate",
		"query-display-options", "query-dump", "query-dump-guest-memory-capability", "query-fdsets",
		"query-firmware-log", "query-gic-capabilities", "query-hotpluggable-cpus",
		"query-hv-balloon-status-report", "query-iothreads", "query-jobs", "query-kvm", "query-machines",
		"query-memdev", "query-memory-devices", "query-memory-size-summary", "query-mice", "query-migrate",
		"query-migrate-capabilities", "query-migrate-parameters", "query-migrationthreads", "query-name",
		"query-named-block-nodes", "query-pci", "query-pr-managers", "query-qmp-schema", "query-replay",
		"query-rocker", "query-rocker-of-dpa-flows", "query-rocker-of-dpa-groups", "query-rocker-ports",
		"query-rx-filter", "query-s390x-cpu-polarization", "query-sev", "query-sev-attestation-report",
		"query-sev-capabilities", "query-sev-launch-measure", "query-sgx", "query-sgx-capabilities",
		"query-spice", "query-stats", "query-stats-schemas", "query-status", "query-target", "query-tpm",
		"query-tpm-models", "query-tpm-types", "query-uuid", "query-vcpu-dirty-limit", "query-version",
		"query-vm-generation-id", "query-vnc", "query-vnc-servers", "query-xen-replication-status",
		"query-yank", "request-ebpf", "ringbuf-read", "trace-event-get-state", "x-accel-stats",
		"x-debug-block-dirty-bitmap-sha256", "x-debug-query-block-graph", "x-query-interrupt-controllers",
		"x-query-irq", "x-query-jit", "x-query-numa", "x-query-opcount", "x-query-profile",
		"x-query-ramblock", "x-query-rdma", "x-query-roms", "x-query-usb", "x-query-virtio",
		"x-query-virtio-queue-element", "x-query-virtio-queue-status", "x-query-virtio-status",
		"x-query-virtio-vhost-queue-status", "xen-event-list":
		return true
	}
	return false
}

// isNormal: what a user of the guest could do or would not notice.
func isNormal(command string) bool {
	switch command {
	case "add-fd", "announce-self", "balloon", "block-dirty-bitmap-add", "block-dirty-bitmap-clear",
		"block-dirty-bitmap-disable", "block-dirty-bitmap-enable", "block-dirty-bitmap-merge",
		"block-dirty-bitmap-remove", "block-job-cancel", "block-job-change", "block-job-complete",
		"block-job-dismiss", "block-job-finalize", "block-job-pause", "block-job-resume",
		"block-job-set-speed", "block-latency-histogram-set", "block-set-write-threshold",
		"block_set_io_throttle", "calc-dirty-rate", "cancel-vcpu-dirty-limit", "chardev-send-break",
		"closefd", "cont", "display-update", "get-win32-socket", "getfd", "input-send-event", "job-cancel", "job-complete",
		"job-dismiss", "job-finalize", "job-pause", "job-resume", "remove-fd", "replay-break",
		"replay-delete-break", "replay-seek", "ringbuf-write", "rtc-reset-reinjection", "send-key",
		"set-vcpu-dirty-limit", "set_link", "stop", "system_wakeup", "x-exit-preconfig":
		return true
	}
	return false
}

// isPrivileged: what changes the machine, its disks or its secrets.
func isPrivileged(command string) bool {
	switch command {
	case "block-commit", "block-export-del", "block-stream", "block_resize", "blockdev-backup",
		"blockdev-close-tray", "blockdev-del", "blockdev-insert-medium", "blockdev-mirror",
		"blockdev-open-tray", "blockdev-remove-medium", "blockdev-set-active", "blockdev-snapshot",
		"blockdev-snapshot-delete-internal-sync", "blockdev-snapshot-internal-sync", "change-vnc-password",
		"chardev-remove", "cxl-add-dynamic-capacity", "cxl-inject-correctable-error",
		"cxl-inject-dram-event", "cxl-inject-general-media-event", "cxl-inject-memory-module-event",
		"cxl-inject-poison", "cxl-inject-uncorrectable-errors", "cxl-release-dynamic-capacity",
		"device-sync-config", "device_add", "device_del", "eject", "expire_password", "migrate-continue", "migrate-pause",
		"migrate-set-capabilities", "migrate-set-parameters", "migrate-start-postcopy", "migrate_cancel",
		"nbd-server-add", "nbd-server-remove", "nbd-server-stop", "netdev_del", "object-del", "qom-set",
		"set-action", "set-cpu-topology", "set-numa-node", "set_password", "sev-inject-launch-secret",
		"snapshot-delete", "snapshot-load", "snapshot-save", "system_powerdown", "system_reset",
		"trace-event-set-state", "watchdog-set-action", "x-blockdev-change", "x-blockdev-set-iothread",
		"x-colo-lost-heartbeat", "xen-colo-do-checkpoint", "xen-event-inject", "xen-set-global-dirty-log",
		"xen-set-replication", "yank":
		return true
	}
	return false
}

// isDangerous: what can run a host program (human-monitor-command, migrate to exec:,
// netdev_add with a script), open a host file or port that the command names, or end
// the VM or crash its system (quit, inject-nmi). transaction can contain such commands.
func isDangerous(command string) bool {
	switch command {
	case "add_client", "block-export-add", "blockdev-add", "blockdev-change-medium", "blockdev-create",
		"blockdev-reopen", "blockdev-snapshot-sync", "change-backing-file", "chardev-add", "chardev-change",
		"client_migrate_info", "display-reload", "drive-backup", "drive-mirror", "dump-guest-memory",
		"dump-skeys", "dumpdtb", "human-monitor-command", "inject-nmi", "memsave", "migrate",
		"migrate-incoming", "migrate-recover", "nbd-server-start", "netdev_add", "object-add", "pmemsave",
		"quit", "screendump", "transaction", "x-blockdev-amend", "xen-load-devices-state",
		"xen-save-devices-state":
		return true
	}
	return false
}
