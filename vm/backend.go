package vm

import (
	"context"
	"net"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/qmp"
	"github.com/maqet/maqet/storage"
)

// Backend runs guests. It owns their processes or domains; Manager owns their
// states. All methods are safe for concurrent use.
type Backend interface {
	// Check says what of cfg can't be run here, before anything is made: a missing
	// binary, an unknown machine type, a socket path that would be too long. Problems
	// of single fields come as *errors.ConfigError.
	Check(ctx context.Context, id string, cfg Config) error
	// Launch starts the guest with its CPUs halted and returns as soon as it exists.
	// If it fails nothing is left.
	Launch(ctx context.Context, spec LaunchSpec) (Guest, error)
	// Attach finds the live guest of a recorded instance, from this or another
	// process, and connects to it. errors.ErrVMNotRunning when it is gone or when what
	// has its PID is not it.
	Attach(ctx context.Context, inst Instance) (Guest, error)
	// Clean removes what a guest that is gone left behind: sockets and their folder. It
	// is idempotent, and touches nothing that the record does not name.
	Clean(ctx context.Context, inst Instance) error
	// Erase removes everything the backend kept for an instance: Clean, and the logs.
	Erase(ctx context.Context, inst Instance) error
	// Timeouts returns cfg's time-outs with defaults filled in, scaled for the
	// accelerator that cfg would get.
	Timeouts(ctx context.Context, cfg Config) Timeouts
	// Close releases the backend. Ephemeral guests that still run are killed;
	// persistent ones go on.
	Close() error
}

// LaunchSpec is everything a backend needs to start a guest.
type LaunchSpec struct {
	ID     string
	Config Config // validated, with its name
	Boot   BootFiles
	Images []Image // one for each of Config.Disks; of those in Unplugged, and of empty CD-ROM drives, only the name
	// Seed is the path of the ISO image made from Config.CloudInit; empty: there is none.
	Seed string
	// NVRAM is the path of the VM's own copy of Boot.NVRAM; empty: there is none.
	NVRAM string
	// StateDir is a folder that keeps what helper programs keep for the VM, such as a TPM's
	// secrets. It need not exist; it is removed with the VM's ephemeral disks when the guest
	// stops, or with the VM, as Disk.Keep says by default.
	StateDir string
	// Plugged and Unplugged are the Instance's: devices to start with besides those of
	// Config, and those of Config to leave out.
	Plugged   []qmp.Device
	Unplugged []string
	// Incoming, if not nil, has the guest wait for a saved state instead of booting.
	Incoming *Incoming
	// Restore names the snapshot whose memory and disks the guest continues from instead of
	// booting; empty: none. Only a [Snapshotter] gets it.
	Restore string
}

// BootFiles is a Boot with everything found: paths exist, the command line is whole.
// The zero value boots from disk by firmware.
type BootFiles struct {
	Kernel  string
	Initrd  string
	Cmdline []string // arguments; the backend adds console= and the like where it decides them
	// Firmware is what QEMU's option -bios takes, a path or the name of a file in QEMU's
	// data folder; empty: the machine's own.
	Firmware string
	// UEFI is the firmware in flash memory, instead of Firmware; nil: there is none.
	UEFI *UEFI
	// Default is true when Initrd is the default guest's.
	Default bool
}

// UEFI is a firmware in flash memory. QEMU's docs/interop/firmware.json has the meaning of
// each part.
type UEFI struct {
	Code       string // path of the program, mapped read-only
	CodeFormat string // "raw" or "qcow2"
	// NVRAM is the path of the variables' template, which the VM gets a copy of; empty: the
	// program keeps them in itself, and forgets them.
	NVRAM       string
	NVRAMFormat string
	SMM         bool // needs system management mode, which protects the variables from the guest
}

// Booter finds what a guest boots from. guest.Booter implements it.
type Booter interface {
	// ResolveBoot returns the files for cfg. A missing kernel is
	// errors.ErrInvalidConfiguration and says which command gets one.
	ResolveBoot(ctx context.Context, cfg Config) (BootFiles, error)
}

// Images makes and deletes disk images. storage.Manager implements it; which disk of a
// Config needs which image is decided here in vm.
type Images interface {
	// Create makes an empty image. errors.ErrImageCreation; an existing file is never
	// overwritten.
	Create(ctx context.Context, spec storage.CreateSpec) (storage.Image, error)
	// Overlay makes a qcow2 image whose unwritten parts are those of a base image,
	// which is never written.
	Overlay(ctx context.Context, spec storage.OverlaySpec) (storage.Image, error)
	// Usable checks that an image, and every one below it, exists, has the stated format,
	// can be read, or written if write is true, and is used by nobody who minds. Those that are
	// encrypted need keys. It returns them, the topmost first. Errors are a *storage.ImageError.
	Usable(ctx context.Context, path, format string, write bool, keys ...storage.Secret) ([]storage.Image, error)
	// ISO makes a CD image. errors.ErrImageCreation; an existing file is never overwritten.
	ISO(ctx context.Context, spec storage.ISOSpec) (storage.Image, error)
	// Files returns the registered files that f selects.
	Files(ctx context.Context, f storage.FileFilter) ([]storage.File, error)
	// Delete removes an image that this manager made; one that is already gone is no
	// error, any other file is refused.
	Delete(ctx context.Context, path string) error
}

// Guest is a live guest on a backend. Methods are safe for concurrent use.
type Guest interface {
	// Runtime returns what to record.
	Runtime() Runtime
	// Connect completes the control channel: afterwards QMP works, every device is
	// made, and no event since the launch was missed by earlier subscribers.
	Connect(ctx context.Context) error
	// QMP returns the control channel. It never returns nil; before Connect, and
	// after the guest is gone, its calls fail.
	QMP() qmp.Conn
	// Dial opens one of the guest's channels; see the Channel constants. A channel
	// that another client of this or another process uses: errors.ErrAgentUnavailable at
	// once, unless wait is true: then it waits its turn.
	Dial(ctx context.Context, channel string, wait bool) (net.Conn, error)
	// Continue lets the virtual CPUs run.
	Continue(ctx context.Context) error
	// Ladder returns the ways to stop the guest, politest first. The last one can't
	// fail while the process is ours.
	Ladder() []StopStep
	// Done is closed when the guest is gone: the process has ended and is reaped.
	Done() <-chan struct{}
	// Exit says how it ended; meaningful after Done.
	Exit() errors.ExitStatus
	// Release lets go of a guest without stopping it: connections are closed,
	// goroutines end. After Done it only waits for them.
	Release() error
}

// HelperWatcher is a [Guest] that has helpers, and notices when one ends.
type HelperWatcher interface {
	// LostHelpers tells each helper that ended before the guest did, with its Exit. It is
	// never closed.
	LostHelpers() <-chan Helper
}

// DeviceNamer is a [Guest] whose QEMU knows the devices it started with by other IDs than their
// names in Config. Those that are plugged later have the names.
type DeviceNamer interface {
	// DeviceID returns QEMU's ID of a device with that name.
	DeviceID(name string) string
	// DeviceName returns the name of the device with that ID: the ID itself, unless DeviceID
	// returns it for another name.
	DeviceName(id string) string
}

// Channels of a guest, by the name [Guest].Dial takes.
const (
	// ChannelAgent speaks the QEMU guest agent's protocol ("org.qemu.guest_agent.0").
	ChannelAgent = "agent"
	// ChannelStream0 and ChannelStream1 speak package guest/wire with maqet's own
	// init. Two, so that two processes can work in a guest at once.
	ChannelStream0 = "stream0"
	ChannelStream1 = "stream1"
	// ChannelConsole is the first serial port: what is written there is typed.
	ChannelConsole = "console"
)

// StopStep is one rung of the ladder that stops a guest.
type StopStep struct {
	Name string // "agent", "acpi", "quit", "sigterm", "sigkill", "destroy"
	// Graceful steps ask the guest's system; the others end QEMU around it.
	Graceful bool
	// Run asks. It returns when it has asked, not when the guest is gone; an error
	// moves on to the next rung at once.
	Run func(ctx context.Context) error
}
