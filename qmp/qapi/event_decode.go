package qapi

import "github.com/maqet/maqet/qmp"

// Decode returns an event's payload as its type of this package. Of an event that this
// package does not know it returns the data as it came, a json.RawMessage. Payloads that
// don't fit their type are errors.ErrQMP.
func Decode(e qmp.Event) (any, error) {
	for _, decode := range []func(qmp.Event) (any, bool, error){
		decodeRun, decodeDevice, decodeBlock, decodeMigration, decodeDisplay,
	} {
		if data, ok, err := decode(e); ok {
			return data, err
		}
	}
	return e.Data, nil
}

// known decodes an event that is known to be a T's.
func known[T EventData](e qmp.Event) (any, bool, error) {
	data, err := decodeAs[T](e)
	if err != nil {
		return nil, true, err
	}
	return data, true, nil
}

func decodeRun(e qmp.Event) (data any, ok bool, err error) {
	switch e.Name {
	case EventGuestCrashloaded:
		return known[GuestCrashloadedEvent](e)
	case EventGuestPanicked:
		return known[GuestPanickedEvent](e)
	case EventGuestPvshutdown:
		return known[GuestPvshutdownEvent](e)
	case EventPowerdown:
		return known[PowerdownEvent](e)
	case EventReset:
		return known[ResetEvent](e)
	case EventResume:
		return known[ResumeEvent](e)
	case EventRTCChange:
		return known[RTCChangeEvent](e)
	case EventShutdown:
		return known[ShutdownEvent](e)
	case EventStop:
		return known[StopEvent](e)
	case EventSuspend:
		return known[SuspendEvent](e)
	case EventSuspendDisk:
		return known[SuspendDiskEvent](e)
	case EventWakeup:
		return known[WakeupEvent](e)
	case EventWatchdog:
		return known[WatchdogEvent](e)
	}
	return nil, false, nil
}

func decodeDevice(e qmp.Event) (data any, ok bool, err error) {
	switch e.Name {
	case EventACPIDeviceOST:
		return known[ACPIDeviceOSTEvent](e)
	case EventBalloonChange:
		return known[BalloonChangeEvent](e)
	case EventCPUPolarizationChange:
		return known[CPUPolarizationChangeEvent](e)
	case EventDeviceDeleted:
		return known[DeviceDeletedEvent](e)
	case EventDeviceUnplugGuestError:
		return known[DeviceUnplugGuestErrorEvent](e)
	case EventHvBalloonStatusReport:
		return known[HvBalloonStatusReportEvent](e)
	case EventMemoryDeviceSizeChange:
		return known[MemoryDeviceSizeChangeEvent](e)
	case EventMemoryFailure:
		return known[MemoryFailureEvent](e)
	case EventMemUnplugError:
		return known[MemUnplugErrorEvent](e)
	case EventVserportChange:
		return known[VserportChangeEvent](e)
	}
	return nil, false, nil
}

func decodeBlock(e qmp.Event) (data any, ok bool, err error) {
	switch e.Name {
	case EventBlockExportDeleted:
		return known[BlockExportDeletedEvent](e)
	case EventBlockImageCorrupted:
		return known[BlockImageCorruptedEvent](e)
	case EventBlockIOError:
		return known[BlockIOErrorEvent](e)
	case EventBlockJobCancelled:
		return known[BlockJobCancelledEvent](e)
	case EventBlockJobCompleted:
		return known[BlockJobCompletedEvent](e)
	case EventBlockJobError:
		return known[BlockJobErrorEvent](e)
	case EventBlockJobPending:
		return known[BlockJobPendingEvent](e)
	case EventBlockJobReady:
		return known[BlockJobReadyEvent](e)
	case EventBlockWriteThreshold:
		return known[BlockWriteThresholdEvent](e)
	case EventDeviceTrayMoved:
		return known[DeviceTrayMovedEvent](e)
	case EventJobStatusChange:
		return known[JobStatusChangeEvent](e)
	case EventPRManagerStatusChanged:
		return known[PRManagerStatusChangedEvent](e)
	case EventQuorumFailure:
		return known[QuorumFailureEvent](e)
	case EventQuorumReportBad:
		return known[QuorumReportBadEvent](e)
	}
	return nil, false, nil
}

func decodeMigration(e qmp.Event) (data any, ok bool, err error) {
	switch e.Name {
	case EventCOLOExit:
		return known[COLOExitEvent](e)
	case EventDumpCompleted:
		return known[DumpCompletedEvent](e)
	case EventFailoverNegotiated:
		return known[FailoverNegotiatedEvent](e)
	case EventMigration:
		return known[MigrationEvent](e)
	case EventMigrationPass:
		return known[MigrationPassEvent](e)
	case EventNetdevStreamConnected:
		return known[NetdevStreamConnectedEvent](e)
	case EventNetdevStreamDisconnected:
		return known[NetdevStreamDisconnectedEvent](e)
	case EventNetdevVhostUserConnected:
		return known[NetdevVhostUserConnectedEvent](e)
	case EventNetdevVhostUserDisconnected:
		return known[NetdevVhostUserDisconnectedEvent](e)
	case EventNicRXFilterChanged:
		return known[NicRXFilterChangedEvent](e)
	case EventUnplugPrimary:
		return known[UnplugPrimaryEvent](e)
	case EventVFIOMigration:
		return known[VFIOMigrationEvent](e)
	case EventVFUClientHangup:
		return known[VFUClientHangupEvent](e)
	}
	return nil, false, nil
}

func decodeDisplay(e qmp.Event) (data any, ok bool, err error) {
	switch e.Name {
	case EventSpiceConnected:
		return known[SpiceConnectedEvent](e)
	case EventSpiceDisconnected:
		return known[SpiceDisconnectedEvent](e)
	case EventSpiceInitialized:
		return known[SpiceInitializedEvent](e)
	case EventSpiceMigrateCompleted:
		return known[SpiceMigrateCompletedEvent](e)
	case EventVNCConnected:
		return known[VNCConnectedEvent](e)
	case EventVNCDisconnected:
		return known[VNCDisconnectedEvent](e)
	case EventVNCInitialized:
		return known[VNCInitializedEvent](e)
	}
	return nil, false, nil
}
