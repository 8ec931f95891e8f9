package snapshot

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/maqet/maqet/qmp"
	"github.com/maqet/maqet/qmp/qapi"
	"github.com/maqet/maqet/vm"
)

// version is QEMU's, if the VM is live: "7.2.22".
func (op *operation) version(ctx context.Context) (string, error) {
	if !op.live() {
		return "", nil
	}
	guest, err := op.vms.Live(ctx, op.inst.ID)
	if err != nil {
		return "", err
	}
	return versionOf(ctx, guest.QMP())
}

func versionOf(ctx context.Context, e qmp.Executor) (string, error) {
	v, err := qapi.QueryVersion(ctx, e)
	return fmt.Sprintf("%d.%d.%d", v.QEMU.Major, v.QEMU.Minor, v.QEMU.Micro), err
}

const fixMachine = "change it back, or load the disks only (ColdBoot), while the VM is not live"

// misfits names whatever makes the machine of an instance another one than that which a snapshot's
// memory was saved of: QEMU would refuse the memory, or the guest would find devices other than
// those it knows. version is that of the QEMU that would load it, as far as it is known.
//
// What the guest can't see does not matter, such as where its disks are on the host. A later
// QEMU takes what an earlier one has saved, as long as the versioned machine is the same.
func misfits(rec *Record, inst vm.Instance, version string) (list []Blocker) {
	differ := func(field, then, now string) {
		list = append(list, Blocker{Device: field, Reason: "was " + then + " and is " + now, Fix: fixMachine})
	}
	then, now := seen(rec.Config, rec.Unplugged, rec.Plugged), seen(inst.Config, inst.Unplugged, inst.Plugged)
	for _, d := range differences("", then, now) {
		differ(d.field, d.then, d.now)
	}
	if then, now := machines(rec, inst); then != now {
		differ("machine", then, now)
		list[len(list)-1].Fix = "set Config.Machine to " + strconv.Quote(then) + ", or load the disks only (ColdBoot), while the VM is not live"
	}
	if inst.State.Live() && rec.Accel != "" && rec.Accel != inst.Runtime.Accel {
		differ("accel", rec.Accel, inst.Runtime.Accel)
	}
	if version != "" && earlier(version, rec.Version) {
		differ("QEMU", rec.Version, version)
	}
	return list
}

// machines are the types of the machines, as exactly as both are known: of a VM that is not live
// there is only what its configuration says.
func machines(rec *Record, inst vm.Instance) (then, now string) {
	if inst.State.Live() && rec.Machine != "" && inst.Runtime.Machine != "" {
		return rec.Machine, inst.Runtime.Machine
	}
	if inst.Config.Machine == rec.Machine {
		return rec.Machine, rec.Machine
	}
	return machineOf(rec.Config), machineOf(inst.Config)
}

// earlier reports whether version a is before b, both numbers with dots between them.
func earlier(a, b string) bool {
	numbers := func(v string) (list []int) {
		for part := range strings.SplitSeq(v, ".") {
			n, _ := strconv.Atoi(part) // 0 where it is none
			list = append(list, n)
		}
		return list
	}
	return slices.Compare(numbers(a), numbers(b)) < 0
}

// seen is what the guest sees of a machine, as decoded JSON: of a configuration what matters,
// and the devices that were plugged and unplugged.
func seen(c vm.Config, unplugged []string, plugged any) map[string]any {
	unplugged = slices.Sorted(slices.Values(unplugged))
	data, err := json.Marshal(map[string]any{"config": visible(c), "plugged": plugged, "unplugged": unplugged})
	var out map[string]any
	if err == nil {
		err = json.Unmarshal(data, &out)
	}
	if err != nil {
		return nil // which is like nothing; it was JSON before
	}
	config, _ := out["config"].(map[string]any)
	for _, key := range []string{"plugged", "unplugged"} {
		config[key] = out[key]
	}
	hidePlugged(config["plugged"])
	return config
}
