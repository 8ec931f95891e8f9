package snapshot

import (
	"github.com/maqet/maqet/errors"
)

// Option changes one call. One that a call can't heed makes it fail before anything is done.
type Option struct {
	name  string
	calls calls
	set   func(*options)
}

// calls are those that an option is for.
type calls int

const (
	onCreate calls = 1 << iota
	onLoad
	onDelete
	onMerge // Commit, Stream and Drop
	onBackup
	onFolder // VerifyBackup and RestoreBackup
	onCapture
)

type options struct {
	description string
	diskOnly    bool
	freeze      freezing
	after       after
	cold        bool
	full        bool
	sumless     bool
	plain       bool
	rate        int64
	progress    func(Progress)
}

// freezing is how an external snapshot or a backup goes about the guest's file systems.
type freezing int

const (
	freezeIfPossible freezing = iota
	freezeNever
	freezeAlways
)

// after is what becomes of a guest after an operation.
type after int

const (
	asBefore after = iota
	thenRunning
	thenPaused
)

// Progress is how far an operation is. Done grows up to Total, which may grow as well, in no
// particular unit; both are 0 where nothing is known.
type Progress struct {
	Step        string // what is being done, such as "save" or "freeze"
	Done, Total int64
}

// Describe gives a snapshot a description, of at most 4096 bytes. For Create.
func Describe(text string) Option {
	return Option{"Describe", onCreate, func(o *options) { o.description = text }}
}

// DiskOnly makes an external snapshot, without memory, of a live VM. For Create.
func DiskOnly() Option {
	return Option{"DiskOnly", onCreate, func(o *options) { o.diskOnly = true }}
}

// NoFreeze leaves the guest's file systems alone: the snapshot is what a power failure would
// leave. For Create with DiskOnly, and Backup. Default: they are frozen if an agent answers.
func NoFreeze() Option {
	return Option{"NoFreeze", onCreate | onBackup, func(o *options) { o.freeze = freezeNever }}
}

// MustFreeze fails unless the agent has frozen the guest's file systems. For Create with
// DiskOnly, and Backup.
func MustFreeze() Option {
	return Option{"MustFreeze", onCreate | onBackup, func(o *options) { o.freeze = freezeAlways }}
}

// ThenRun has the guest run afterwards. For Create and Load. Default: as it was before; after
// the Load of a VM that is not live, it is not live.
func ThenRun() Option {
	return Option{"ThenRun", onCreate | onLoad, func(o *options) { o.after = thenRunning }}
}

// ThenPause has the guest paused afterwards. For Create and Load.
func ThenPause() Option {
	return Option{"ThenPause", onCreate | onLoad, func(o *options) { o.after = thenPaused }}
}

// ColdBoot loads the disks of a snapshot only: a VM that is not live boots when it is started
// next, and one that is live is ended and boots at once. Default: the guest of a live VM
// continues from the snapshot's memory, if it has one, and so does the next start of another VM.
// For Load.
func ColdBoot() Option {
	return Option{"ColdBoot", onLoad, func(o *options) { o.cold = true }}
}

// OnProgress calls fn as the operation goes on, from one goroutine at a time. fn must not block.
func OnProgress(fn func(Progress)) Option {
	return Option{"OnProgress", onCreate | onLoad | onDelete | onMerge | onBackup | onFolder, func(o *options) { o.progress = fn }}
}

func (o *options) tell(p Progress) {
	if o.progress != nil {
		o.progress(p)
	}
}

// collect applies the options of a call.
func collect(call calls, what string, opts []Option) (options, error) {
	var o options
	for i, opt := range opts {
		if opt.calls&call == 0 {
			return o, unheeded(what, "option "+opt.name+" is not for this call")
		}
		for _, before := range opts[:i] {
			if before.name == opposite(opt.name) {
				return o, unheeded(what, "options "+before.name+" and "+opt.name+" contradict each other")
			}
		}
		opt.set(&o)
	}
	if call == onCreate && o.freeze != freezeIfPossible && !o.diskOnly {
		return o, unheeded(what, "options NoFreeze and MustFreeze are for snapshots with DiskOnly")
	}
	return o, nil
}

// opposite is the option that can't be heeded together with the one called name; "": none.
func opposite(name string) string {
	switch name {
	case "ThenRun":
		return "ThenPause"
	case "ThenPause":
		return "ThenRun"
	case "NoFreeze":
		return "MustFreeze"
	case "MustFreeze":
		return "NoFreeze"
	}
	return ""
}

// unheeded is the error of options that a call can't heed.
func unheeded(what, msg string) error {
	return &errors.Error{Kind: errors.ErrInvalidConfiguration, Op: what, Msg: msg}
}

// suits says which options can't be heeded in the state that the VM is in.
func (op *operation) suits() error {
	if op.call == onCreate && op.after != asBefore && !op.live() {
		return unheeded(op.what, "options ThenRun and ThenPause are for live VMs, and VM "+op.inst.Name+" is not")
	}
	return nil
}
