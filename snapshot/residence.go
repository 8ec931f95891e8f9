package snapshot

import (
	"bufio"
	"bytes"
	"cmp"
	"fmt"
	"io"
	"os"

	"github.com/maqet/maqet/vm"
)

// memoryHeld is how much of the guest's memory the host holds, in bytes, as far as that is
// known and could be more than enough: what the whole process holds is told at once, how it
// is made up takes longer to find out (proc(5), /proc/PID/status and smaps).
func memoryHeld(inst vm.Instance, enough int64) int64 {
	ram := int64(cmp.Or(inst.Config.Memory, vm.DefaultMemory))
	for _, d := range inst.Plugged {
		if d.Memory != nil {
			ram += d.Memory.Size
		}
	}
	pid := inst.Runtime.Process.PID
	if ram <= enough || pid == 0 {
		return min(ram, enough)
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	if all := sum(bytes.NewReader(status), "RssAnon", "RssShmem", "VmSwap", "HugetlbPages"); all <= enough {
		return all
	}
	maps, err := os.Open(fmt.Sprintf("/proc/%d/smaps", pid))
	if err != nil {
		return 0
	}
	defer maps.Close()
	return residence(maps, inst)
}

// residence sums up what is held of the mappings that have the size of one of the guest's
// memories. QEMU maps each as a whole, and much else besides: its translated code, for one.
func residence(smaps io.Reader, inst vm.Instance) (held int64) {
	sizes := map[int64]bool{int64(cmp.Or(inst.Config.Memory, vm.DefaultMemory)): true}
	for _, d := range inst.Plugged {
		if d.Memory != nil {
			sizes[d.Memory.Size] = true
		}
	}
	counts := false
	lines := bufio.NewScanner(smaps)
	for lines.Scan() {
		name, bytes := field(lines.Text())
		switch name {
		case "Size":
			counts = sizes[bytes]
		case "Rss", "Swap", "Shared_Hugetlb", "Private_Hugetlb":
			if counts {
				held += bytes
			}
		}
	}
	return held
}

// sum adds up fields of one of proc's files.
func sum(r io.Reader, names ...string) (total int64) {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		name, bytes := field(lines.Text())
		for _, n := range names {
			if n == name {
				total += bytes
			}
		}
	}
	return total
}

// field reads a line such as "VmSwap:    12 kB". Others have no name, or no size.
func field(line string) (name string, bytes int64) {
	var kib int64
	i := 0
	for i < len(line) && line[i] != ':' && line[i] != ' ' {
		i++
	}
	if i == len(line) || line[i] == ' ' {
		return "", 0
	}
	_, _ = fmt.Sscanf(line[i+1:], "%d kB", &kib) // 0 where it is no size
	return line[:i], kib << 10
}
