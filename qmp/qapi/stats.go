package qapi

import (
	"context"
	"encoding/json"

	"github.com/maqet/maqet/qmp"
)

// QueryStats returns statistics of the VM or its CPUs.
func QueryStats(ctx context.Context, e qmp.Executor, args StatsFilter) ([]StatsResult, error) {
	return qmp.Do[[]StatsResult](ctx, e, "query-stats", args)
}

// QueryStatsSchemas describes the statistics that a provider has, or all when it is empty.
func QueryStatsSchemas(ctx context.Context, e qmp.Executor, provider StatsProvider) ([]StatsSchema, error) {
	return qmp.Do[[]StatsSchema](ctx, e, "query-stats-schemas", struct {
		Provider StatsProvider `json:"provider,omitempty"`
	}{provider})
}

// StatsFilter says which statistics are wanted.
type StatsFilter struct {
	Target    StatsTarget    `json:"target"`
	Providers []StatsRequest `json:"providers,omitempty"` // default: all
	VCPUs     []string       `json:"vcpus,omitempty"`     // of vcpu: QOM paths; default: all
}

// StatsRequest says which statistics of a provider are wanted.
type StatsRequest struct {
	Provider StatsProvider `json:"provider"`
	Names    []string      `json:"names,omitempty"` // default: all
}

// StatsResult are statistics of one object.
type StatsResult struct {
	Provider StatsProvider `json:"provider"`
	QOMPath  string        `json:"qom-path,omitempty"` // of a CPU; empty: of the VM
	Stats    []Stats       `json:"stats"`
}

// Stats is one statistic.
type Stats struct {
	Name  string     `json:"name"`
	Value StatsValue `json:"value"`
}

// StatsValue is a number, a list of numbers or a boolean: the member that is not nil.
type StatsValue struct {
	Scalar  *uint64
	List    []uint64
	Boolean *bool
}

// MarshalJSON implements json.Marshaler.
func (v StatsValue) MarshalJSON() ([]byte, error) {
	switch {
	case v.Scalar != nil:
		return json.Marshal(v.Scalar)
	case v.Boolean != nil:
		return json.Marshal(v.Boolean)
	}
	return json.Marshal(v.List)
}

// UnmarshalJSON implements json.Unmarshaler.
func (v *StatsValue) UnmarshalJSON(data []byte) error {
	*v = StatsValue{}
	switch {
	case len(data) > 0 && data[0] == '[':
		return json.Unmarshal(data, &v.List)
	case string(data) == "true" || string(data) == "false":
		return json.Unmarshal(data, &v.Boolean)
	}
	return json.Unmarshal(data, &v.Scalar)
}

// StatsSchema describes the statistics of a provider.
type StatsSchema struct {
	Provider StatsProvider      `json:"provider"`
	Target   StatsTarget        `json:"target"`
	Stats    []StatsSchemaValue `json:"stats"`
}

// StatsSchemaValue describes a statistic: its value is in units of Base to the power of
// Exponent.
type StatsSchemaValue struct {
	Name       string    `json:"name"`
	Type       StatsType `json:"type"`
	Unit       StatsUnit `json:"unit,omitempty"`
	Base       int8      `json:"base,omitempty"` // 0: none
	Exponent   int16     `json:"exponent"`
	BucketSize uint32    `json:"bucket-size,omitempty"` // of linear histograms
}

// StatsTarget is what statistics are of.
type StatsTarget string

// Values of StatsTarget.
const (
	StatsTargetVM        StatsTarget = "vm"
	StatsTargetVCPU      StatsTarget = "vcpu"
	StatsTargetCryptodev StatsTarget = "cryptodev" // QEMU 8.0
)

// StatsProvider is where statistics come from.
type StatsProvider string

// Values of StatsProvider.
const (
	StatsProviderKVM       StatsProvider = "kvm"
	StatsProviderCryptodev StatsProvider = "cryptodev" // QEMU 8.0
)

// StatsType is a kind of statistic.
type StatsType string

// Values of StatsType.
const (
	StatsTypeCumulative      StatsType = "cumulative" // it only grows
	StatsTypeInstant         StatsType = "instant"    // it goes up and down
	StatsTypePeak            StatsType = "peak"       // the highest so far
	StatsTypeLinearHistogram StatsType = "linear-histogram"
	StatsTypeLog2Histogram   StatsType = "log2-histogram"
)

// StatsUnit is the unit of a statistic.
type StatsUnit string

// Values of StatsUnit.
const (
	StatsUnitBytes   StatsUnit = "bytes"
	StatsUnitSeconds StatsUnit = "seconds"
	StatsUnitCycles  StatsUnit = "cycles"
	StatsUnitBoolean StatsUnit = "boolean"
)

// CalcDirtyRate starts to measure how fast the guest writes its memory;
// [QueryDirtyRate] has the result.
func CalcDirtyRate(ctx context.Context, e qmp.Executor, args CalcDirtyRateArgs) error {
	return run(ctx, e, "calc-dirty-rate", args)
}

// QueryDirtyRate returns what [CalcDirtyRate] has measured. An empty unit is seconds.
func QueryDirtyRate(ctx context.Context, e qmp.Executor, calcTimeUnit TimeUnit) (DirtyRateInfo, error) {
	return qmp.Do[DirtyRateInfo](ctx, e, "query-dirty-rate", struct {
		CalcTimeUnit TimeUnit `json:"calc-time-unit,omitempty"`
	}{calcTimeUnit})
}

// CalcDirtyRateArgs are the arguments of calc-dirty-rate.
type CalcDirtyRateArgs struct {
	CalcTime     int64                `json:"calc-time"`                // how long to measure, up to 60 s
	CalcTimeUnit TimeUnit             `json:"calc-time-unit,omitempty"` // default: second (QEMU 8.2)
	SamplePages  int64                `json:"sample-pages,omitempty"`   // pages of each GiB that are looked at; 0: 512
	Mode         DirtyRateMeasureMode `json:"mode,omitempty"`           // default: page-sampling
}

// DirtyRateInfo is the answer to query-dirty-rate.
type DirtyRateInfo struct {
	DirtyRate     *int64               `json:"dirty-rate,omitempty"` // MB a second; nil: not measured yet
	Status        DirtyRateStatus      `json:"status"`
	StartTime     int64                `json:"start-time"` // seconds of QEMU's clock
	CalcTime      int64                `json:"calc-time"`
	CalcTimeUnit  TimeUnit             `json:"calc-time-unit"` // QEMU 8.2
	SamplePages   uint64               `json:"sample-pages"`
	Mode          DirtyRateMeasureMode `json:"mode"`
	VCPUDirtyRate []DirtyRateVcpu      `json:"vcpu-dirty-rate,omitempty"` // of dirty-ring
}

// DirtyRateVcpu is how fast a virtual CPU writes.
type DirtyRateVcpu struct {
	ID        int64 `json:"id"`
	DirtyRate int64 `json:"dirty-rate"` // MB a second
}

// DirtyRateStatus is how far the measurement is.
type DirtyRateStatus string

// Values of DirtyRateStatus.
const (
	DirtyRateStatusUnstarted DirtyRateStatus = "unstarted"
	DirtyRateStatusMeasuring DirtyRateStatus = "measuring"
	DirtyRateStatusMeasured  DirtyRateStatus = "measured"
)

// DirtyRateMeasureMode is how the rate is measured.
type DirtyRateMeasureMode string

// Values of DirtyRateMeasureMode.
const (
	DirtyRateMeasureModePageSampling DirtyRateMeasureMode = "page-sampling"
	DirtyRateMeasureModeDirtyRing    DirtyRateMeasureMode = "dirty-ring"
	DirtyRateMeasureModeDirtyBitmap  DirtyRateMeasureMode = "dirty-bitmap"
)

// TimeUnit is a unit of time.
type TimeUnit string

// Values of TimeUnit.
const (
	TimeUnitSecond      TimeUnit = "second"
	TimeUnitMillisecond TimeUnit = "millisecond"
)
