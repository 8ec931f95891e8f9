package process

import (
	"context"
	"os"
	"strconv"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/vm"
)

// firstFD is the first descriptor that QEMU, or a helper, inherits, after stdin, stdout
// and stderr.
const firstFD = 3

// inherited says what one of QEMU's descriptors is; one field is set.
type inherited struct {
	channel string                                      // the listening socket of this channel
	helper  *helperPlan                                 // QEMU's end of the connection with this helper
	open    func(ctx context.Context) (*os.File, error) // what this opens
}

// inherit has QEMU inherit a descriptor and returns its number in QEMU.
func (b *builder) inherit(in inherited) string {
	b.inherited = append(b.inherited, in)
	return strconv.Itoa(firstFD + len(b.inherited) - 1)
}

// channels are those whose listening sockets QEMU inherits, in the order of their
// descriptors.
func (b *builder) channels() []string {
	var names []string
	for _, in := range b.inherited {
		if in.channel != "" {
			names = append(names, in.channel)
		}
	}
	return names
}

// ephemeral reports whether everything that runs for the guest ends with this process.
func (b *builder) ephemeral() bool { return b.spec.Config.Lifetime != vm.Persistent }

// crew is what a launch has started and opened for QEMU.
type crew struct {
	b         *Backend
	vm        string // the ID
	ephemeral bool
	helpers   []*helper
	files     []*os.File // of this process's own copies
}

// equip returns what QEMU inherits, from firstFD upward: it starts the helpers, and opens
// what else there is besides sockets, the channels' own. What was started before an error
// stays in c.
func (c *crew) equip(ctx context.Context, list []inherited, sockets []listener, f files) ([]uintptr, error) {
	var fds []uintptr
	for _, in := range list {
		var file *os.File
		var err error
		switch {
		case in.helper != nil:
			file, err = c.start(ctx, *in.helper, f)
		case in.open != nil:
			file, err = in.open(ctx)
		default:
			fds, sockets = append(fds, sockets[0].file.Fd()), sockets[1:]
			continue
		}
		if err != nil {
			return nil, err
		}
		c.files = append(c.files, file)
		fds = append(fds, file.Fd())
	}
	return fds, nil
}

// close closes this process's copies of what was opened: the helpers end when QEMU does, or
// if there is none.
func (c *crew) close() error {
	var errs []error
	for _, f := range c.files {
		errs = append(errs, f.Close())
	}
	c.files = nil
	return errors.Join(errs...)
}

// lastWords adds to err what helpers that have ended had to say. It is for launches that
// fail.
func (c *crew) lastWords(err error) error {
	for _, h := range c.helpers {
		if what := h.failure(); what != "" {
			err = errors.Join(err, errors.New(what))
		}
	}
	return err
}
