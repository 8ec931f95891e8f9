package process

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/qmp"
	"github.com/maqet/maqet/vm"
)

// ramObject is what QEMU's command line says of RAM that is in a file.
type ramObject struct {
	Kind  string `json:"qom-type"`
	ID    string
	Path  string `json:"mem-path"`
	Size  int64
	Share bool
}

// Memory implements vm.Capturer: it opens what QEMU has as its descriptor, for reading and
// writing, so that it can be sealed. QEMU's command line says which one that is: so it works
// for guests that another process has started as well.
func (g *guest) Memory() (*os.File, error) {
	ram, ok := ramOf(g.Runtime().Args)
	if !ok {
		return nil, nil
	}
	f, err := g.openRAM(ram)
	return f, errors.Wrap(errors.ErrBackend, "open the guest's memory", g.name, err)
}

func (g *guest) openRAM(ram ramObject) (*os.File, error) {
	path := fmt.Sprintf("/proc/%d/fd/%s", g.proc.identity().PID, strings.TrimPrefix(ram.Path, ownFD))
	// A descriptor that is something else by now must not be waited for.
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	switch {
	case err != nil:
	case g.proc.gone(): // and the PID may be another's
		err = errEnded
	case !info.Mode().IsRegular() || info.Size() != ram.Size:
		err = fmt.Errorf("%s is no file of %d bytes", path, ram.Size)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// ramOf finds the guest's RAM in QEMU's command line, if it is in a file that is shared.
func ramOf(args []string) (ramObject, bool) {
	id := parsePairs(valueOf(args, "-machine"))["memory-backend"]
	for i, arg := range args[:max(len(args)-1, 0)] {
		var ram ramObject
		if arg == "-object" && json.Unmarshal([]byte(args[i+1]), &ram) == nil && ram.ID == id &&
			ram.Kind == ramFromFile && ram.Share && strings.HasPrefix(ram.Path, ownFD) {
			return ram, true
		}
	}
	return ramObject{}, false
}

// Fingerprint implements vm.Capturer. It says what runs: the configuration, and the QEMU on
// disk, may be others by now.
func (g *guest) Fingerprint(ctx context.Context, inst vm.Instance) (vm.Fingerprint, error) {
	version, err := qmp.Do[struct{ QEMU qmp.Version }](ctx, g.control, "query-version", nil)
	if err != nil {
		return vm.Fingerprint{}, errors.Wrap(errors.ErrBackend, "ask which machine the guest is", g.name, err)
	}
	rt := g.Runtime()
	return fingerprintOf(rt.Args, inst.Plugged, inst.Unplugged, version.QEMU.String(), buildOf(procExe(rt.Process.PID))), nil
}
