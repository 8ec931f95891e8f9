package vm

import (
	"time"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/qmp"
	"github.com/maqet/maqet/storage"
)

// Instance is what is recorded of a VM. It is a copy: changing it changes nothing.
type Instance struct {
	ID     string `json:"id"`   // UUID, lower case
	Name   string `json:"name"` // never empty
	Config Config `json:"config"`
	State  State  `json:"state"`
	Reason string `json:"reason,omitempty"` // why it is in this state
	// Steps are those of the last start, in order, with their durations.
	Steps []Step `json:"steps,omitempty"`
	// Plugged are the devices that were plugged while the VM ran (qmp.Manager.AddDevice),
	// each with its place. A start comes with them.
	Plugged []qmp.Device `json:"plugged,omitempty"`
	// Unplugged names the devices, disks and network cards of Config that were removed
	// (qmp.Manager.RemoveDevice). A start comes without them, and does not need their
	// images. Config stays as it is, so that applying it again changes nothing; applying
	// another one empties the list.
	Unplugged []string `json:"unplugged,omitempty"`
	// Layers are the images that external snapshots have put over those of Config: a disk
	// that is named here is written in its layer. Config stays as it is, so that applying
	// it again changes nothing.
	Layers []Layer `json:"layers,omitempty"`
	// Snapshot names the snapshot that the disks stand on: the one that was made or loaded
	// last. The next one becomes its child.
	Snapshot string `json:"snapshot,omitempty"`
	// Restore names the snapshot whose memory the next start continues from, instead of
	// booting; see [ColdBoot].
	Restore string `json:"restore,omitempty"`
	// ImagesKept is true after a stop by [KeepImages]: the next start goes on with the images of
	// ephemeral disks instead of making them anew.
	ImagesKept bool `json:"images_kept,omitempty"`
	// Fork says which template the VM is a copy of; nil: of none.
	Fork *Fork `json:"fork,omitempty"`
	// Host names the backend that the VM is on, where that is not what Config.Backend says: it
	// was placed there, or has moved; see [Placer] and [Manager.Migrate].
	Host string `json:"host,omitempty"`
	// Run tells the runs of a VM apart, which have nothing else in common but the ID: it is the
	// record's version when the last one began.
	Run int64 `json:"run,omitempty"`
	// Unclean is true after a run whose QEMU did not end in order: what it had not written yet
	// of its images' reference counts has leaked. [Snapshots] clears it, once it has looked.
	Unclean bool `json:"unclean,omitempty"`
	// Runtime describes the guest while it is live, and how it ended afterwards.
	Runtime Runtime `json:"runtime,omitzero"`
	// Owner is the process that added the VM, or started it last.
	Owner Process `json:"owner,omitzero"`

	Created time.Time `json:"created"`
	Changed time.Time `json:"changed"`
	// Version grows by one with each change of the record.
	Version int64 `json:"version"`
}

// Step is one step of a start.
type Step struct {
	Name     string        `json:"name"`
	Started  time.Time     `json:"started"`
	Duration time.Duration `json:"duration"` // ns in JSON
	Err      string        `json:"err,omitempty"`
}

// The steps of a start, in order.
const (
	StepValidate  = "validate"  // the configuration, and what this host can do
	StepLock      = "lock"      // the VM's lock file, and the state Starting
	StepImages    = "images"    // kernel, initrd, disks
	StepLaunch    = "launch"    // QEMU is executed
	StepHandshake = "handshake" // QEMU answers on QMP, its devices are made
	StepRestore   = "restore"   // a saved state is loaded, if one was asked for
	StepContinue  = "continue"  // the virtual CPUs run
	StepIdentity  = "identity"  // a fork becomes somebody of its own: random numbers, clock, names
	StepReady     = "ready"     // the conditions hold
)

// Process identifies a process beyond doubt: a PID alone is used again.
type Process struct {
	PID       int    `json:"pid,omitempty"`
	StartTime uint64 `json:"start_time,omitempty"` // clock ticks since boot, /proc/PID/stat field 22
	BootID    string `json:"boot_id,omitempty"`    // /proc/sys/kernel/random/boot_id
}

// Runtime is what a backend records about a live guest, enough for another process
// to find it again and to be sure that it is the same one.
type Runtime struct {
	Process Process  `json:"process,omitzero"`
	Backend string   `json:"backend,omitempty"`
	Accel   string   `json:"accel,omitempty"`   // "kvm" or "tcg"
	Machine string   `json:"machine,omitempty"` // the versioned name
	Args    []string `json:"args,omitempty"`    // QEMU's command line; Args[0] is the binary
	Dir     string   `json:"dir,omitempty"`     // folder of the sockets
	Console string   `json:"console,omitempty"` // file with everything the console printed
	Stderr  string   `json:"stderr,omitempty"`  // file with QEMU's stderr
	// Sockets maps a channel's name (see [Guest].Dial) to its socket.
	Sockets map[string]string `json:"sockets,omitempty"`
	// Terminals maps the names of Config.Serials with a PTY to their terminals, such as
	// "/dev/pts/3".
	Terminals map[string]string `json:"terminals,omitempty"`
	// Forwards are those of Config.Networks, by the card's name, with the ports that
	// were chosen on the host.
	Forwards map[string][]Forward `json:"forwards,omitempty"`
	// Boot is what the guest was booted from.
	Boot BootFiles `json:"boot,omitzero"`
	// NVRAM is the file of the guest's UEFI variables, and Seed its image for cloud-init; empty:
	// it has none.
	NVRAM string `json:"nvram,omitempty"`
	Seed  string `json:"seed,omitempty"`
	// Cards are the network cards of Config.Networks.
	Cards []Card `json:"cards,omitempty"`
	// Captures are the files that get the packets of Config.Networks, by the card's name.
	Captures map[string]string `json:"captures,omitempty"`
	// Helpers are programs that run for the guest beside QEMU, and end with it.
	Helpers []Helper `json:"helpers,omitempty"`
	// Disks are the images the guest uses, in the order of Config.Disks; of disks in
	// Instance.Unplugged, and of empty CD-ROM drives, there is only the name.
	Disks []Image `json:"disks,omitempty"`
	// Exit says how QEMU ended; nil while it runs or where nobody saw it.
	Exit *errors.ExitStatus `json:"exit,omitempty"`
}

// Helper is a program that runs for a guest beside QEMU, such as virtiofsd. A start whose
// helper ends fails. One that ends later leaves the guest running without what it gave: a
// share that hangs, a network that is silent. Then Exit is set, and Instance.Reason says so.
type Helper struct {
	Name    string  `json:"name"` // the program, and for what: "virtiofsd share0"
	Process Process `json:"process"`
	Log     string  `json:"log,omitempty"` // file with what it printed
	// Exit says how it ended before its guest did; nil while it runs, and when it ended
	// with the guest.
	Exit *errors.ExitStatus `json:"exit,omitempty"`
}

// Layer is the image that a disk is written in since an external snapshot was made: a qcow2
// overlay whose backing file is what the disk was before.
type Layer struct {
	Disk string `json:"disk"` // the disk's name
	Path string `json:"path"`
}

// Image is a disk image that is ready for use.
type Image struct {
	Name   string `json:"name"` // the disk's name
	Path   string `json:"path"` // empty: there is none, in an empty CD-ROM drive
	Format string `json:"format"`
	// Device is true when Path is a block device of the host.
	Device bool `json:"device,omitempty"`
	// Ephemeral images are deleted when the guest has stopped; the manager made them.
	Ephemeral bool `json:"ephemeral,omitempty"`
	// ReadOnly images are never written by the guest.
	ReadOnly bool `json:"read_only,omitempty"`
	// Owned images were made by the manager: deleted with the VM when that is asked.
	Owned bool `json:"owned,omitempty"`
	// Encrypted images are opened with the disk's KeyFile.
	Encrypted bool `json:"encrypted,omitempty"`
	// Bases are the images below this one, the upper ones first, if one of them is encrypted:
	// then QEMU has to be told of each. Else it is nil, and QEMU finds them by itself.
	Bases []storage.Image `json:"bases,omitempty"`
}
