package qapi

import (
	"context"

	"github.com/maqet/maqet/qmp"
)

// QueryName returns the name given with -name.
func QueryName(ctx context.Context, e qmp.Executor) (NameInfo, error) {
	return qmp.Do[NameInfo](ctx, e, "query-name", nil)
}

// QueryUUID returns the machine's UUID, all zeroes when none was set.
func QueryUUID(ctx context.Context, e qmp.Executor) (UuidInfo, error) {
	return qmp.Do[UuidInfo](ctx, e, "query-uuid", nil)
}

// QueryVersion returns QEMU's version.
func QueryVersion(ctx context.Context, e qmp.Executor) (VersionInfo, error) {
	return qmp.Do[VersionInfo](ctx, e, "query-version", nil)
}

// QueryKVM says whether KVM is there and in use.
func QueryKVM(ctx context.Context, e qmp.Executor) (KvmInfo, error) {
	return qmp.Do[KvmInfo](ctx, e, "query-kvm", nil)
}

// QueryTarget returns the architecture that this QEMU emulates.
func QueryTarget(ctx context.Context, e qmp.Executor) (TargetInfo, error) {
	return qmp.Do[TargetInfo](ctx, e, "query-target", nil)
}

// QueryMachines lists the machine types of this QEMU.
func QueryMachines(ctx context.Context, e qmp.Executor) ([]MachineInfo, error) {
	return qmp.Do[[]MachineInfo](ctx, e, "query-machines", nil)
}

// QueryCurrentMachine returns what the running machine can do.
func QueryCurrentMachine(ctx context.Context, e qmp.Executor) (CurrentMachineParams, error) {
	return qmp.Do[CurrentMachineParams](ctx, e, "query-current-machine", nil)
}

// QueryCommandLineOptions describes the parameters of a command line option, without its
// dash, or of all when option is empty. Not all options are among them.
func QueryCommandLineOptions(ctx context.Context, e qmp.Executor, option string) ([]CommandLineOptionInfo, error) {
	return qmp.Do[[]CommandLineOptionInfo](ctx, e, "query-command-line-options", struct {
		Option string `json:"option,omitempty"`
	}{option})
}

// QueryCommands lists the commands of this QEMU. [QueryQMPSchema] also has their types.
func QueryCommands(ctx context.Context, e qmp.Executor) ([]CommandInfo, error) {
	return qmp.Do[[]CommandInfo](ctx, e, "query-commands", nil)
}

// QueryCPUDefinitions lists the CPU models of this QEMU.
func QueryCPUDefinitions(ctx context.Context, e qmp.Executor) ([]CpuDefinitionInfo, error) {
	return qmp.Do[[]CpuDefinitionInfo](ctx, e, "query-cpu-definitions", nil)
}

// QueryCPUModelExpansion returns what a CPU model comes to on this host: its features one
// by one with [CpuModelExpansionTypeFull], or a short form.
func QueryCPUModelExpansion(ctx context.Context, e qmp.Executor, kind CpuModelExpansionType, model CpuModelInfo) (CpuModelExpansionInfo, error) {
	return qmp.Do[CpuModelExpansionInfo](ctx, e, "query-cpu-model-expansion", struct {
		Type  CpuModelExpansionType `json:"type"`
		Model CpuModelInfo          `json:"model"`
	}{kind, model})
}

// QueryVMGenerationID returns the generation id that the guest sees. It is an error when
// the machine has no vmgenid device.
func QueryVMGenerationID(ctx context.Context, e qmp.Executor) (GuidInfo, error) {
	return qmp.Do[GuidInfo](ctx, e, "query-vm-generation-id", nil)
}

// NameInfo is the answer to query-name.
type NameInfo struct {
	Name string `json:"name,omitempty"`
}

// UuidInfo is the answer to query-uuid.
type UuidInfo struct {
	UUID string `json:"UUID"`
}

// GuidInfo is the answer to query-vm-generation-id.
type GuidInfo struct {
	Guid string `json:"guid"`
}

// VersionInfo is the answer to query-version.
type VersionInfo struct {
	QEMU    VersionTriple `json:"qemu"`
	Package string        `json:"package"` // what the distribution adds, such as a package's version
}

// VersionTriple is a version of QEMU; a micro of 50 and more is a development version.
type VersionTriple struct {
	Major int64 `json:"major"`
	Minor int64 `json:"minor"`
	Micro int64 `json:"micro"`
}

// KvmInfo is the answer to query-kvm.
type KvmInfo struct {
	Enabled bool `json:"enabled"` // in use
	Present bool `json:"present"` // compiled in
}

// TargetInfo is the answer to query-target.
type TargetInfo struct {
	Arch string `json:"arch"` // such as x86_64
}

// MachineInfo is one machine type.
type MachineInfo struct {
	Name             string `json:"name"`            // such as pc-q35-7.2
	Alias            string `json:"alias,omitempty"` // such as q35
	IsDefault        bool   `json:"is-default,omitempty"`
	CPUMax           int64  `json:"cpu-max"` // the most CPUs it can have
	HotpluggableCPUs bool   `json:"hotpluggable-cpus"`
	NUMAMemSupported bool   `json:"numa-mem-supported"`
	Deprecated       bool   `json:"deprecated"`
	DefaultCPUType   string `json:"default-cpu-type,omitempty"`
	// The id that a memory backend for its main memory needs.
	DefaultRAMID string `json:"default-ram-id,omitempty"`
	ACPI         bool   `json:"acpi"` // QEMU 8.0
}

// CurrentMachineParams is the answer to query-current-machine.
type CurrentMachineParams struct {
	WakeupSuspendSupport bool `json:"wakeup-suspend-support"` // SystemWakeup works
}

// CommandLineOptionInfo is one command line option.
type CommandLineOptionInfo struct {
	Option     string                     `json:"option"` // without its dash
	Parameters []CommandLineParameterInfo `json:"parameters"`
}

// CommandLineParameterInfo is one parameter of a command line option.
type CommandLineParameterInfo struct {
	Name    string                   `json:"name"`
	Type    CommandLineParameterType `json:"type"`
	Help    string                   `json:"help,omitempty"`
	Default string                   `json:"default,omitempty"`
}

// CommandInfo is one command.
type CommandInfo struct {
	Name string `json:"name"`
}

// CpuDefinitionInfo is one CPU model.
type CpuDefinitionInfo struct {
	Name                string   `json:"name"`
	MigrationSafe       *bool    `json:"migration-safe,omitempty"`       // nil: QEMU does not know
	Static              bool     `json:"static"`                         // it is the same in each version of QEMU, on each machine
	UnavailableFeatures []string `json:"unavailable-features,omitempty"` // what this host lacks for it
	Typename            string   `json:"typename"`
	AliasOf             string   `json:"alias-of,omitempty"` // the model that this machine type takes for it
	Deprecated          bool     `json:"deprecated"`
}

// CpuModelInfo is a CPU model with properties.
type CpuModelInfo struct {
	Name  string         `json:"name"`
	Props map[string]any `json:"props,omitempty"`
}

// CpuModelExpansionInfo is the answer to query-cpu-model-expansion.
type CpuModelExpansionInfo struct {
	Model CpuModelInfo `json:"model"`
}

// CpuModelExpansionType is how far a CPU model is expanded.
type CpuModelExpansionType string

// Values of CpuModelExpansionType.
const (
	CpuModelExpansionTypeStatic CpuModelExpansionType = "static"
	CpuModelExpansionTypeFull   CpuModelExpansionType = "full"
)

// CommandLineParameterType is the type of a parameter.
type CommandLineParameterType string

// Values of CommandLineParameterType.
const (
	CommandLineParameterTypeString  CommandLineParameterType = "string"
	CommandLineParameterTypeBoolean CommandLineParameterType = "boolean"
	CommandLineParameterTypeNumber  CommandLineParameterType = "number"
	CommandLineParameterTypeSize    CommandLineParameterType = "size" // a number, perhaps with a suffix such as K, M or G
)
