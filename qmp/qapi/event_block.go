package qapi

// BlockIOErrorEvent says that an operation of the guest has failed.
type BlockIOErrorEvent struct {
	QOMPath   string           `json:"qom-path"` // of the frontend (QEMU 9.2)
	Device    string           `json:"device"`   // id of its -drive; empty for one made with -blockdev
	NodeName  string           `json:"node-name,omitempty"`
	Operation IoOperationType  `json:"operation"`
	Action    BlockErrorAction `json:"action"`
	Nospace   bool             `json:"nospace,omitempty"` // the host has no space
	Reason    string           `json:"reason"`            // for people
}

// EventName returns [EventBlockIOError].
func (BlockIOErrorEvent) EventName() string { return EventBlockIOError }

// BlockImageCorruptedEvent says that an image was marked corrupt.
type BlockImageCorruptedEvent struct {
	Device   string `json:"device"`
	NodeName string `json:"node-name,omitempty"`
	Msg      string `json:"msg"`
	Offset   *int64 `json:"offset,omitempty"` // bytes; where
	Size     *int64 `json:"size,omitempty"`   // bytes
	Fatal    bool   `json:"fatal"`            // it can't be used any more
}

// EventName returns [EventBlockImageCorrupted].
func (BlockImageCorruptedEvent) EventName() string { return EventBlockImageCorrupted }

// BlockJobCompletedEvent says that a block job has ended by itself.
type BlockJobCompletedEvent struct {
	Type   JobType `json:"type"`
	Device string  `json:"device"` // the job's id
	Len    int64   `json:"len"`    // of Offset, when the job is done
	Offset int64   `json:"offset"`
	Speed  int64   `json:"speed"`           // bytes a second; 0: no limit
	Error  string  `json:"error,omitempty"` // empty: it went well
}

// EventName returns [EventBlockJobCompleted].
func (BlockJobCompletedEvent) EventName() string { return EventBlockJobCompleted }

// BlockJobCancelledEvent says that a block job was cancelled.
type BlockJobCancelledEvent struct {
	Type   JobType `json:"type"`
	Device string  `json:"device"` // the job's id
	Len    int64   `json:"len"`    // of Offset, when the job is done
	Offset int64   `json:"offset"`
	Speed  int64   `json:"speed"` // bytes a second; 0: no limit
}

// EventName returns [EventBlockJobCancelled].
func (BlockJobCancelledEvent) EventName() string { return EventBlockJobCancelled }

// BlockJobErrorEvent says that an operation of a block job has failed.
type BlockJobErrorEvent struct {
	Device    string           `json:"device"` // the job's id
	Operation IoOperationType  `json:"operation"`
	Action    BlockErrorAction `json:"action"`
}

// EventName returns [EventBlockJobError].
func (BlockJobErrorEvent) EventName() string { return EventBlockJobError }

// BlockJobReadyEvent says that [BlockJobComplete] works from now on.
type BlockJobReadyEvent struct {
	Type   JobType `json:"type"`
	Device string  `json:"device"` // the job's id
	Len    int64   `json:"len"`    // of Offset, when the job is done
	Offset int64   `json:"offset"`
	Speed  int64   `json:"speed"` // bytes a second; 0: no limit
}

// EventName returns [EventBlockJobReady].
func (BlockJobReadyEvent) EventName() string { return EventBlockJobReady }

// BlockJobPendingEvent says that a block job waits for [BlockJobFinalize].
type BlockJobPendingEvent struct {
	Type JobType `json:"type"`
	ID   string  `json:"id"`
}

// EventName returns [EventBlockJobPending].
func (BlockJobPendingEvent) EventName() string { return EventBlockJobPending }

// BlockWriteThresholdEvent says that the guest has written beyond what [BlockSetWriteThreshold]
// asked for.
type BlockWriteThresholdEvent struct {
	NodeName       string `json:"node-name"`
	AmountExceeded uint64 `json:"amount-exceeded"` // bytes
	WriteThreshold uint64 `json:"write-threshold"` // bytes
}

// EventName returns [EventBlockWriteThreshold].
func (BlockWriteThresholdEvent) EventName() string { return EventBlockWriteThreshold }

// BlockExportDeletedEvent says that an export is gone.
type BlockExportDeletedEvent struct {
	ID string `json:"id"`
}

// EventName returns [EventBlockExportDeleted].
func (BlockExportDeletedEvent) EventName() string { return EventBlockExportDeleted }

// DeviceTrayMovedEvent says that a tray was opened or closed.
type DeviceTrayMovedEvent struct {
	Device   string `json:"device"` // id of its -drive; empty for one made with -blockdev
	ID       string `json:"id"`     // of the frontend
	TrayOpen bool   `json:"tray-open"`
}

// EventName returns [EventDeviceTrayMoved].
func (DeviceTrayMovedEvent) EventName() string { return EventDeviceTrayMoved }

// JobStatusChangeEvent says that a job is further.
type JobStatusChangeEvent struct {
	ID     string    `json:"id"`
	Status JobStatus `json:"status"`
}

// EventName returns [EventJobStatusChange].
func (JobStatusChangeEvent) EventName() string { return EventJobStatusChange }

// QuorumFailureEvent says that too few images of a quorum agree.
type QuorumFailureEvent struct {
	Reference    string `json:"reference"`  // the node, or its device
	SectorNum    int64  `json:"sector-num"` // of 512 bytes
	SectorsCount int64  `json:"sectors-count"`
}

// EventName returns [EventQuorumFailure].
func (QuorumFailureEvent) EventName() string { return EventQuorumFailure }

// QuorumReportBadEvent says that an image of a quorum has failed or differs.
type QuorumReportBadEvent struct {
	Type         QuorumOpType `json:"type"`
	Error        string       `json:"error,omitempty"` // empty: it differs
	NodeName     string       `json:"node-name"`
	SectorNum    int64        `json:"sector-num"` // of 512 bytes
	SectorsCount int64        `json:"sectors-count"`
}

// EventName returns [EventQuorumReportBad].
func (QuorumReportBadEvent) EventName() string { return EventQuorumReportBad }

// QuorumOpType is an operation of a quorum.
type QuorumOpType string

// Values of QuorumOpType.
const (
	QuorumOpTypeRead  QuorumOpType = "read"
	QuorumOpTypeWrite QuorumOpType = "write"
	QuorumOpTypeFlush QuorumOpType = "flush"
)

// PRManagerStatusChangedEvent says that the helper for persistent reservations has come or gone.
type PRManagerStatusChangedEvent struct {
	ID        string `json:"id"` // of the pr-manager-helper object
	Connected bool   `json:"connected"`
}

// EventName returns [EventPRManagerStatusChanged].
func (PRManagerStatusChangedEvent) EventName() string { return EventPRManagerStatusChanged }

// IoOperationType is the direction of an operation.
type IoOperationType string

// Values of IoOperationType.
const (
	IoOperationTypeRead  IoOperationType = "read"
	IoOperationTypeWrite IoOperationType = "write"
)

// BlockErrorAction is what QEMU did about an error.
type BlockErrorAction string

// Values of BlockErrorAction.
const (
	BlockErrorActionIgnore BlockErrorAction = "ignore"
	BlockErrorActionReport BlockErrorAction = "report" // told the guest, or ended the job
	BlockErrorActionStop   BlockErrorAction = "stop"   // halted the guest, or paused the job
)
