package main

import (
	"bytes"
	"context"
	"os"
	"strconv"
	"strings"

	"github.com/maqet/maqet"
	"github.com/maqet/maqet/vm"
)

// alive reports whether a recorded process still runs: a process with its PID that began
// at the same time of the same boot (proc(5), /proc/PID/stat, field 22).
func alive(p vm.Process) bool {
	if p.PID == 0 {
		return false
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil || strings.TrimSpace(string(boot)) != p.BootID {
		return false
	}
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(p.PID) + "/stat")
	if err != nil {
		return false
	}
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:]) // the name before may have spaces
	if len(fields) < 20 || fields[0][0] == 'Z' {
		return false
	}
	start, err := strconv.ParseUint(string(fields[19]), 10, 64)
	return err == nil && start == p.StartTime
}

// stale reports whether a VM is recorded as live, but its QEMU is gone. While it is being
// started or stopped somebody works on the record.
func stale(inst vm.Instance) bool {
	return (inst.State == vm.Running || inst.State == vm.Paused) && !alive(inst.Runtime.Process)
}

// abandoned reports whether a VM belonged to a process that is gone.
func abandoned(inst vm.Instance) bool {
	return inst.Config.Lifetime != vm.Persistent && inst.Owner.PID != 0 && !alive(inst.Owner)
}

// mended returns the records as they are once those that are stale were corrected, which
// reaching for the guest does.
func mended(ctx context.Context, m *maqet.Maqet, list []vm.Instance) []vm.Instance {
	for i, inst := range list {
		if !stale(inst) {
			continue
		}
		_, _ = m.VM.Live(ctx, inst.ID) // fails: it is gone, and is recorded so
		if now, err := m.VM.Get(ctx, inst.ID); err == nil {
			list[i] = now
		}
	}
	return list
}
