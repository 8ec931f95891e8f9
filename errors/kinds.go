package errors

// The tree of kinds. Indentation below is the tree.
var (
	// ErrMaqet is the root: everything that maqet reports by itself.
	ErrMaqet = kind(nil, "Maqet", "maqet error")

	// ErrConfiguration: what was asked for can't be right, whatever the state.
	ErrConfiguration = kind(ErrMaqet, "Configuration", "configuration error")
	// ErrConfigFileNotFound: a configuration file does not exist.
	ErrConfigFileNotFound = kind(ErrConfiguration, "ConfigFileNotFound", "configuration file not found")
	// ErrConfigValidation: a configuration has values that are wrong; see [ConfigError].
	ErrConfigValidation = kind(ErrConfiguration, "ConfigValidation", "invalid configuration")
	// ErrInvalidConfiguration: a valid configuration that can't work here: a missing
	// kernel, an option that collides, a folder whose path is too long for sockets.
	ErrInvalidConfiguration = kind(ErrConfiguration, "InvalidConfiguration", "configuration can't be used")

	// ErrKernelNotFound: no guest kernel is there, and none was named.
	ErrKernelNotFound = kind(ErrInvalidConfiguration, "KernelNotFound", "no guest kernel found")

	// ErrVMLifecycle: a VM could not be brought from one state to another.
	ErrVMLifecycle = kind(ErrMaqet, "VMLifecycle", "VM lifecycle error")
	// ErrVMNotFound: no VM has that name or ID.
	ErrVMNotFound = kind(ErrVMLifecycle, "VMNotFound", "VM not found")
	// ErrVMAlreadyExists: a VM of that name or ID exists.
	ErrVMAlreadyExists = kind(ErrVMLifecycle, "VMAlreadyExists", "VM already exists")
	// ErrVMAlreadyRunning: the VM runs, or is being started, here or in another process.
	ErrVMAlreadyRunning = kind(ErrVMLifecycle, "VMAlreadyRunning", "VM already running")
	// ErrVMNotRunning: the call needs a running VM.
	ErrVMNotRunning = kind(ErrVMLifecycle, "VMNotRunning", "VM not running")
	// ErrVMStart: the VM could not be started; see [StartError].
	ErrVMStart = kind(ErrVMLifecycle, "VMStart", "VM start failed")
	// ErrVMStop: the VM could not be stopped.
	ErrVMStop = kind(ErrVMLifecycle, "VMStop", "VM stop failed")
	// ErrIllegalTransition: the state machine does not allow this from the VM's
	// present state; see [TransitionError].
	ErrIllegalTransition = kind(ErrVMLifecycle, "IllegalTransition", "illegal transition")
	// ErrWaitTimeout: a wait ended by its time limit.
	ErrWaitTimeout = kind(ErrVMLifecycle, "WaitTimeout", "wait timed out")

	// ErrQMP: the control channel of a VM.
	ErrQMP = kind(ErrMaqet, "QMP", "QMP error")
	// ErrQMPConnection: the channel could not be opened, or was lost.
	ErrQMPConnection = kind(ErrQMP, "QMPConnection", "QMP connection lost")
	// ErrQMPCommand: QEMU answered a command with an error; see [QMPError].
	ErrQMPCommand = kind(ErrQMP, "QMPCommand", "QMP command failed")
	// ErrQMPTimeout: no answer came in time. The command may still take effect.
	ErrQMPTimeout = kind(ErrQMP, "QMPTimeout", "QMP command timed out")
	// ErrQMPDenied: the policy does not allow the command.
	ErrQMPDenied = kind(ErrQMP, "QMPDenied", "QMP command denied")
	// ErrQMPUnsupported: this QEMU, or this guest's machine, can't do what was asked for.
	// Nothing was changed.
	ErrQMPUnsupported = kind(ErrQMP, "QMPUnsupported", "not supported by this QEMU")
	// ErrDeviceBusy: the guest did not let go of a device in time, or refused to.
	ErrDeviceBusy = kind(ErrQMP, "DeviceBusy", "device not released by the guest")

	// ErrStorage: disk images.
	ErrStorage = kind(ErrMaqet, "Storage", "storage error")
	// ErrImageNotFound: an image, or what it is backed by, does not exist.
	ErrImageNotFound = kind(ErrStorage, "ImageNotFound", "image not found")
	// ErrImageCreation: an image could not be made; nothing of it is left.
	ErrImageCreation = kind(ErrStorage, "ImageCreation", "image creation failed")
	// ErrImageInUse: an image is in use where exclusive use is needed.
	ErrImageInUse = kind(ErrStorage, "ImageInUse", "image in use")

	// ErrSnapshot: snapshots, templates and forks.
	ErrSnapshot = kind(ErrMaqet, "Snapshot", "snapshot error")
	// ErrSnapshotNotFound: no snapshot has that name.
	ErrSnapshotNotFound = kind(ErrSnapshot, "SnapshotNotFound", "snapshot not found")
	// ErrSnapshotExists: a snapshot of that name exists.
	ErrSnapshotExists = kind(ErrSnapshot, "SnapshotExists", "snapshot already exists")
	// ErrSnapshotCreation: a snapshot could not be made; nothing of it is left.
	ErrSnapshotCreation = kind(ErrSnapshot, "SnapshotCreation", "snapshot creation failed")
	// ErrSnapshotBlocked: a device stands in the way; the message names it.
	ErrSnapshotBlocked = kind(ErrSnapshot, "SnapshotBlocked", "snapshot blocked")
	// ErrTemplateNotFound: no template has that name.
	ErrTemplateNotFound = kind(ErrSnapshot, "TemplateNotFound", "template not found")
	// ErrTemplateExists: a template of that name exists.
	ErrTemplateExists = kind(ErrSnapshot, "TemplateExists", "template already exists")
	// ErrTemplateInUse: forks or other templates stand on the template; the message names them.
	ErrTemplateInUse = kind(ErrSnapshot, "TemplateInUse", "template in use")
	// ErrTemplateMismatch: the template does not fit this QEMU, host or configuration, or its
	// files are not those that were saved; the message says what differs.
	ErrTemplateMismatch = kind(ErrSnapshot, "TemplateMismatch", "template does not fit")

	// ErrGuest: what runs inside a VM.
	ErrGuest = kind(ErrMaqet, "Guest", "guest error")
	// ErrAgentUnavailable: no agent answers in the guest.
	ErrAgentUnavailable = kind(ErrGuest, "AgentUnavailable", "guest agent unavailable")
	// ErrGuestPanic: the guest's kernel panicked; see [GuestError].
	ErrGuestPanic = kind(ErrGuest, "GuestPanic", "guest panicked")
	// ErrGuestSilent: the guest gave no sign of life for too long; see [GuestError].
	ErrGuestSilent = kind(ErrGuest, "GuestSilent", "guest is silent")
	// ErrCommandFailed: a command in the guest exited with a non-zero code or by a
	// signal; see [CommandError].
	ErrCommandFailed = kind(ErrGuest, "CommandFailed", "guest command failed")

	// ErrState: what maqet records about its VMs.
	ErrState = kind(ErrMaqet, "State", "state error")
	// ErrDatabase: the store could not be read or written.
	ErrDatabase = kind(ErrState, "Database", "database error")
	// ErrDatabaseLock: the store, or a VM's lock, is held by somebody else.
	ErrDatabaseLock = kind(ErrState, "DatabaseLock", "locked by another operation")

	// ErrBackend: the hypervisor side.
	ErrBackend = kind(ErrMaqet, "Backend", "backend error")
	// ErrHostUnreachable: the host that runs a VM, or should, does not answer.
	ErrHostUnreachable = kind(ErrBackend, "HostUnreachable", "host can't be reached")
	// ErrLibvirtConnection: libvirt can't be reached, or was lost.
	ErrLibvirtConnection = kind(ErrHostUnreachable, "LibvirtConnection", "libvirt connection failed")
	// ErrQEMUNotFound: a QEMU binary is missing.
	ErrQEMUNotFound = kind(ErrBackend, "QEMUNotFound", "QEMU not found")
)
