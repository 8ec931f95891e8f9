package vm

import (
	"context"
	"fmt"
	"os"
	"slices"
)

// Fork says which template an instance is a copy of.
type Fork struct {
	Template string `json:"template"` // its name
	ID       string `json:"id"`       // its ID: a name can be used again
	// Resume is true while the next start continues where the template was captured, instead
	// of booting: until its disks hold what a start before has written. Of an instance whose
	// disks all vanish with its guest, that is each start, and so a fresh copy.
	Resume bool `json:"resume,omitempty"`
	// Alike leaves the guest the template's identity: nothing is done in it. See [Identity].
	Alike bool `json:"alike,omitempty"`
}

// Fingerprint says which machine a guest is: what a saved state fits. Two that are equal in
// Hash fit each other.
type Fingerprint struct {
	Hash string `json:"hash"` // over all that follows
	// QEMU names the build: its version, and what tells its file from others.
	QEMU    string `json:"qemu"`
	Machine string `json:"machine"`        // the versioned name
	Accel   string `json:"accel"`          // "kvm" or "tcg"
	CPU     string `json:"cpu"`            // the model, and under KVM the host's
	Args    string `json:"args,omitempty"` // the command line, without what each guest has of its own, one argument a line
}

// Differences says how f, the fingerprint of a saved state, differs from that of the machine
// that is to load it, one difference a text. Nil: it fits.
func (f Fingerprint) Differences(other Fingerprint) []string {
	if f.Hash == other.Hash {
		return nil
	}
	var out []string
	for _, part := range []struct{ what, saved, now string }{
		{"QEMU", f.QEMU, other.QEMU}, {"the machine type", f.Machine, other.Machine},
		{"the accelerator", f.Accel, other.Accel}, {"the CPU", f.CPU, other.CPU},
	} {
		if part.saved != part.now {
			out = append(out, fmt.Sprintf("%s was %s, and is %s", part.what, part.saved, part.now))
		}
	}
	return append(out, differentLines(f.Args, other.Args)...)
}

// Templates is what a start of a [Fork] needs of package snapshot, whose Templates implements it.
type Templates interface {
	// Open makes ready what inst, whose Fork says of which template it is a copy, is started
	// from. errors.ErrTemplateNotFound; errors.ErrTemplateMismatch when its files are not those
	// that were saved.
	Open(ctx context.Context, inst Instance) (Origin, error)
}

// Origin is what one start of a fork begins with.
type Origin interface {
	// Parts returns what the machine is made of.
	Parts() OriginParts
	// Resume loads the saved state into a guest whose devices are made and whose CPUs have not
	// run. It leaves them halted.
	Resume(ctx context.Context, guest Guest) error
	// Settle gives the guest of inst, which runs, an identity of its own.
	Settle(ctx context.Context, inst Instance) error
	// Close lets go of what Open has made ready. The guest goes on.
	Close() error
}

// OriginParts are the parts of an [Origin] that a backend and the start need.
type OriginParts struct {
	Boot  BootFiles // the template's
	NVRAM string    // path of the template's UEFI variables; empty: it has none
	Seed  string    // path of the template's image for cloud-init; empty: it has none
	Incoming
}

// Incoming says that a guest is launched to load a saved state.
type Incoming struct {
	// Memory is the guest's RAM, mapped privately, unless Config.Template asks for it to be
	// shared. Nil: it comes with the state.
	Memory *os.File
	// Fingerprint is that of the machine that was saved. A backend whose machine would be
	// another one fails with errors.ErrTemplateMismatch.
	Fingerprint Fingerprint
}

// Identity is what tells a guest from others that have been copied from the same one.
type Identity struct {
	Hostname  string
	MachineID string // 32 hexadecimal digits (machine-id(5))
	// Cards are those that have another address than the guest believes.
	Cards []CardChange
}

// CardChange is a network card whose address changes.
type CardChange struct {
	From    string // the MAC that the guest knows
	MAC     string // the new one
	Address string // the new IPv4 address and prefix length of a card on a segment; empty: as it is, or by DHCP
	// Renew has the guest ask for a new lease: the card is on a network of the host, whose DHCP
	// server knows a guest by its MAC. The one in QEMU's user network would give another
	// address, which forwards do not lead to. maqet's own init has no DHCP client.
	Renew bool
}

// Card is a network card as a live guest has it.
type Card struct {
	Name    string `json:"name"`
	MAC     string `json:"mac"`
	Address string `json:"address,omitempty"` // IPv4 address and prefix length, where maqet decides it
}

// Capturer is a [Guest] that can be made a template of.
type Capturer interface {
	// Memory opens the guest's RAM, which is laid out as Config.Template says; nil when it is
	// not. The caller closes it.
	Memory() (*os.File, error)
	// Fingerprint says which machine the guest of inst is.
	Fingerprint(ctx context.Context, inst Instance) (Fingerprint, error)
}

// resumable reports whether a start of the instance can continue from its template.
func (i Instance) resumable() bool {
	return i.Fork != nil && i.Fork.Resume && i.Restore == "" && !i.ImagesKept
}

// startedAnew reports whether each start of the configuration has its disks as they were at
// first.
func (c Config) startedAnew() bool {
	return !slices.ContainsFunc(c.Disks, func(d Disk) bool {
		if d.inPlace() {
			return !d.IsReadOnly()
		}
		return !d.emptyTray() && d.keeps(c.lifetime())
	})
}
