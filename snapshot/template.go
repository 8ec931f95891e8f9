package snapshot

import (
	"time"

	"github.com/maqet/maqet/vm"
)

// Template is a guest that was captured while it ran: each fork continues from there.
type Template struct {
	Name    string    `json:"name"`
	ID      string    `json:"id"` // UUID
	Created time.Time `json:"created"`
	VM      string    `json:"vm"` // name of the VM that was captured
	// Parent is the name of the template that the VM was a fork of, and ParentID its ID; empty:
	// it was none.
	Parent   string `json:"parent,omitempty"`
	ParentID string `json:"parent_id,omitempty"`
	// Lifetime is vm.Ephemeral for a template that goes with the process that captured it, and
	// vm.Persistent for one that stays until it is deleted.
	Lifetime vm.Lifetime `json:"lifetime"`
	Owner    vm.Process  `json:"owner"` // the process that captured it
	// Config is the VM's, and its disks' images are the template's; Plugged devices are in the
	// manifest.
	Config vm.Config `json:"config"`
	// Memory is the size of the guest's RAM. Shared is true if forks map it from one file, so
	// that they share what none of them changes; else each loads it.
	Memory vm.Size `json:"memory"`
	Shared bool    `json:"shared"`
	// Fingerprint is the machine's. A fork that would be another machine is refused.
	Fingerprint vm.Fingerprint `json:"fingerprint"`
	// Pause is how long the guest stood still to be captured.
	Pause time.Duration `json:"pause"`
}

// CaptureOption changes one call of [Coordinator.Capture].
type CaptureOption func(*captureOptions)

type captureOptions struct {
	lifetime vm.Lifetime
}

// KeepTemplate makes the template [vm.Persistent] or [vm.Ephemeral]. Default: the VM's own
// lifetime.
func KeepTemplate(l vm.Lifetime) CaptureOption { return func(o *captureOptions) { o.lifetime = l } }

// ForkOption changes one call of [Coordinator.Fork].
type ForkOption func(*forkOptions)

type forkOptions struct {
	name     string
	lifetime vm.Lifetime
	labels   map[string]string
	capture  bool
	alike    bool
	change   []func(*vm.Config)
	start    []vm.StartOption
}

// ForkName names the fork. Default: as vm.Config.Name says.
func ForkName(name string) ForkOption { return func(o *forkOptions) { o.name = name } }

// ForkLifetime makes the fork [vm.Persistent]. Default: vm.Ephemeral. A persistent fork of a
// template is started anew from its own disks.
func ForkLifetime(l vm.Lifetime) ForkOption { return func(o *forkOptions) { o.lifetime = l } }

// ForkLabels adds labels to the template's.
func ForkLabels(labels map[string]string) ForkOption {
	return func(o *forkOptions) { o.labels = labels }
}

// ForkForCapture lays the fork's memory out so that it can be captured without a copy, as
// vm.Config.Template does: it takes a copy of the template's memory now.
func ForkForCapture() ForkOption { return func(o *forkOptions) { o.capture = true } }

// Alike leaves the fork the template's identity: its host name, machine ID and addresses are the
// same as in all others of the kind, and so are its clock and its random numbers, until maqet's
// own init, if it has that, gets its first command. It is for guests without an agent.
func Alike() ForkOption { return func(o *forkOptions) { o.alike = true } }

// ForkConfig changes the fork's configuration, which is the template's less what each fork has
// of its own. What would make it another machine is refused: errors.ErrTemplateMismatch. Ports
// of the host in Networks are 0, "a free one", sockets of Serials are vm.SerialSocketAuto, and the
// CID of a Vsock is 0, "its own", unless they are set here.
func ForkConfig(change func(*vm.Config)) ForkOption {
	return func(o *forkOptions) { o.change = append(o.change, change) }
}

// ForkStart passes options on to the start, such as vm.WaitFor.
func ForkStart(opts ...vm.StartOption) ForkOption {
	return func(o *forkOptions) { o.start = append(o.start, opts...) }
}
