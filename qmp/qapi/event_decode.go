package qapi

import "github.com/maqet/maqet/qmp"

// Decode returns an event's payload as its type of this package. Of an event that this
// package does not know it returns the data as it came, a json.RawMessage. Payloads that
// don't fit their type are errors.ErrQMP.
func Decode(e qmp.Event) (any, error) {
	switch e.Name {
	case EventBlockExportDeleted:
		return decodeAs[BlockExportDeletedEvent](e)
	case EventBlockImageCorrupted:
		return decodeAs[BlockImageCorruptedEvent](e)
	case EventBlockIOError:
		return decodeAs[BlockIOErrorEvent](e)
	case EventBlockJobCancelled:
		return decodeAs[BlockJobCancelledEvent](e)
	case EventBlockJobCompleted:
		return decodeAs[BlockJobCompletedEvent](e)
	case EventBlockJobError:
		return decodeAs[BlockJobErrorEvent](e)
	case EventBlockJobPending:
		return decodeAs[BlockJobPendingEvent](e)
	case EventBlockJobReady:
		return decodeAs[BlockJobReadyEvent](e)
	case EventBlockWriteThreshold:
		return decodeAs[BlockWriteThresholdEvent](e)
	case EventDeviceTrayMoved:
		return decodeAs[DeviceTrayMovedEvent](e)
	case EventJobStatusChange:
		return decodeAs[JobStatusChangeEvent](e)
	case EventPRManagerStatusChanged:
		return decodeAs[PRManagerStatusChangedEvent](e)
	case EventQuorumFailure:
		return decodeAs[QuorumFailureEvent](e)
	case EventQuorumReportBad:
		return decodeAs[QuorumReportBadEvent](e)
	}
	return e.Data, nil
}
