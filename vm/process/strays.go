package process

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/internal/proc"
	"github.com/maqet/maqet/vm"
)

// helperMark is the environment variable by which a helper is known: the ID of its VM.
const helperMark = "MAQET_HELPER_OF"

// strays takes hold of the helpers of a VM whose owner died before it recorded them, and
// whose QEMU is gone, or never was. All but swtpm have ended then: that one does not notice
// that it has lost a client which never spoke to it (swtpm 0.7).
func strays(inst vm.Instance) (held []*helper, err error) {
	if inst.Config.TPM == nil || inst.Runtime.Process.PID != 0 || inst.ID == "" {
		return nil, nil
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || !marked(pid, inst.ID) {
			continue
		}
		id, err := proc.Of(pid)
		if err == nil {
			var handle *proc.Handle
			if handle, err = proc.Open(id); err == nil && !marked(pid, inst.ID) { // another one's PID by now
				err = handle.Close()
			} else if err == nil {
				held = append(held, &helper{process: watch(handle), name: "swtpm"})
			}
		}
		if !errors.Is(err, proc.ErrGone) {
			errs = append(errs, err)
		}
	}
	return held, errors.Join(errs...)
}

// marked reports whether a process of this user is a helper of the VM.
func marked(pid int, id string) bool {
	dir := filepath.Join("/proc", strconv.Itoa(pid))
	env, err := os.ReadFile(filepath.Join(dir, "environ"))
	if err != nil || !mine(dir) {
		return false
	}
	for _, v := range bytes.Split(env, []byte{0}) {
		if string(v) == helperMark+"="+id {
			return true
		}
	}
	return false
}
