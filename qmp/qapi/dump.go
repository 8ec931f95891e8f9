package qapi

import (
	"context"

	"github.com/maqet/maqet/qmp"
)

// DumpGuestMemory writes the guest's memory to a file of the host, for a debugger. With
// Detach it returns at once, and [DumpCompletedEvent] says that it is done.
func DumpGuestMemory(ctx context.Context, e qmp.Executor, args DumpGuestMemoryArgs) error {
	return run(ctx, e, "dump-guest-memory", args)
}

// QueryDump returns how far a dump is.
func QueryDump(ctx context.Context, e qmp.Executor) (DumpQueryResult, error) {
	return qmp.Do[DumpQueryResult](ctx, e, "query-dump", nil)
}

// QueryDumpGuestMemoryCapability lists the formats of dumps.
func QueryDumpGuestMemoryCapability(ctx context.Context, e qmp.Executor) (DumpGuestMemoryCapability, error) {
	return qmp.Do[DumpGuestMemoryCapability](ctx, e, "query-dump-guest-memory-capability", nil)
}

// DumpGuestMemoryArgs are the arguments of dump-guest-memory.
type DumpGuestMemoryArgs struct {
	// Let the guest's page tables say what is where; false: physical memory.
	Paging   bool                  `json:"paging"`
	Protocol string                `json:"protocol"` // file:NAME, or fd:NAME with a name given to GetFD
	Detach   bool                  `json:"detach,omitempty"`
	Begin    *int64                `json:"begin,omitempty"`  // with Length: first physical address
	Length   *int64                `json:"length,omitempty"` // bytes
	Format   DumpGuestMemoryFormat `json:"format,omitempty"` // default: elf
}

// DumpGuestMemoryCapability is the answer to query-dump-guest-memory-capability.
type DumpGuestMemoryCapability struct {
	Formats []DumpGuestMemoryFormat `json:"formats"`
}

// DumpQueryResult is how far a dump is.
type DumpQueryResult struct {
	Status    DumpStatus `json:"status"`
	Completed int64      `json:"completed"` // bytes
	Total     int64      `json:"total"`     // bytes
}

// DumpStatus is how far a dump is.
type DumpStatus string

// Values of DumpStatus.
const (
	DumpStatusNone      DumpStatus = "none"
	DumpStatusActive    DumpStatus = "active"
	DumpStatusCompleted DumpStatus = "completed"
	DumpStatusFailed    DumpStatus = "failed"
)

// DumpGuestMemoryFormat is a format of dumps.
type DumpGuestMemoryFormat string

// Values of DumpGuestMemoryFormat.
const (
	DumpGuestMemoryFormatElf            DumpGuestMemoryFormat = "elf"
	DumpGuestMemoryFormatKdumpZlib      DumpGuestMemoryFormat = "kdump-zlib"
	DumpGuestMemoryFormatKdumpLzo       DumpGuestMemoryFormat = "kdump-lzo"
	DumpGuestMemoryFormatKdumpSnappy    DumpGuestMemoryFormat = "kdump-snappy"
	DumpGuestMemoryFormatKdumpRawZlib   DumpGuestMemoryFormat = "kdump-raw-zlib"   // QEMU 8.2
	DumpGuestMemoryFormatKdumpRawLzo    DumpGuestMemoryFormat = "kdump-raw-lzo"    // QEMU 8.2
	DumpGuestMemoryFormatKdumpRawSnappy DumpGuestMemoryFormat = "kdump-raw-snappy" // QEMU 8.2
	DumpGuestMemoryFormatWinDmp         DumpGuestMemoryFormat = "win-dmp"
)
