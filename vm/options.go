package vm

import "time"

// StartOption changes one call of [Manager].Start.
type StartOption func(*startOptions)

type startOptions struct {
	conditions []Condition
	defaults   []Condition // when there are no conditions
	paused     bool
	cold       bool
	progress   func(Step)
}

// WaitFor makes Start return only when all conditions hold; they are waited for at
// the same time. Without it Start returns when the CPUs run.
func WaitFor(conds ...Condition) StartOption {
	return func(o *startOptions) { o.conditions = append(o.conditions, conds...) }
}

// WaitByDefault is [WaitFor] for a start whose options have no WaitFor of their own.
func WaitByDefault(conds ...Condition) StartOption {
	return func(o *startOptions) { o.defaults = append(o.defaults, conds...) }
}

// StartPaused leaves the CPUs halted; the VM is then Paused and conditions are not
// waited for.
func StartPaused() StartOption { return func(o *startOptions) { o.paused = true } }

// ColdBoot boots a VM whose record says that the next start continues from the memory of a
// snapshot ([Instance].Restore). The memory is forgotten; the disks stay as they are.
func ColdBoot() StartOption { return func(o *startOptions) { o.cold = true } }

// OnStep calls fn twice for each step: when it begins, with a zero Duration, and when
// it ended. fn must not block; it is called from the goroutine that called Start.
func OnStep(fn func(Step)) StartOption { return func(o *startOptions) { o.progress = fn } }

// StopOption changes one call of [Manager].Stop.
type StopOption func(*stopOptions)

type stopOptions struct {
	force      bool
	timeout    time.Duration
	failed     string
	because    string
	keepImages bool
}

// Force skips everything polite: QEMU is killed, and what the guest had not written
// to its disks is lost.
func Force() StopOption { return func(o *stopOptions) { o.force = true } }

// StopTimeout bounds how long the guest may take to shut itself down. Afterwards
// QEMU is ended around it. Default: Config.Timeouts.Stop.
func StopTimeout(d time.Duration) StopOption { return func(o *stopOptions) { o.timeout = d } }

// AsFailed records the VM as [Failed], for the stated reason, unless its guest has ended by
// itself before.
func AsFailed(reason string) StopOption { return func(o *stopOptions) { o.failed = reason } }

// Because records the VM as [Stopped] for the stated reason, unless its guest has ended by
// itself before. Default: [ReasonStopped], and by which step.
func Because(reason string) StopOption { return func(o *stopOptions) { o.because = reason } }

// KeepImages keeps the images of ephemeral disks, which go with the guest otherwise, and what
// external snapshots have put over them: for one who starts the VM again at once.
func KeepImages() StopOption { return func(o *stopOptions) { o.keepImages = true } }

// StopReport says how a VM was stopped.
type StopReport struct {
	ID, Name string
	// Step is the rung of the ladder after which the guest was gone: "agent", "acpi",
	// "quit", "sigterm", "sigkill", "destroy"; "exited" when it went by itself, "none"
	// when it was not running.
	Step string
	// Graceful is true when the guest's system shut itself down.
	Graceful bool
	Duration time.Duration
	// Tried has each rung that was tried, in order.
	Tried []StopAttempt
}

// StopAttempt is one rung that was tried.
type StopAttempt struct {
	Step     string
	Duration time.Duration
	Err      string // why it did not do it: an error, or "timed out"
}

// RemoveOption changes one call of [Manager].Remove.
type RemoveOption func(*removeOptions)

type removeOptions struct {
	force        bool
	deleteImages bool
}

// ForceRemove stops the VM first, by Force, if it runs.
func ForceRemove() RemoveOption { return func(o *removeOptions) { o.force = true } }

// DeleteImages also deletes the disk images that maqet made for the VM. Images that
// the user brought are never deleted; nor are those that external snapshots have put over
// them, which hold what the guest wrote since: they stay registered, and storage.Manager.Delete
// deletes them.
func DeleteImages() RemoveOption { return func(o *removeOptions) { o.deleteImages = true } }
