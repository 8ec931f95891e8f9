package snapshot_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/guest"
	"github.com/maqet/maqet/vm"
)

func TestExplore(t *testing.T) {
	h := newHouse(t)
	inst, err := h.vms.Add(t.Context(), vm.Config{Name: "box", Memory: 256 * vm.MiB, Disks: []vm.Disk{{Name: "data", Size: 64 * vm.MiB, Throttle: vm.Throttle{IOPS: 10000}}, {Name: "nv", Size: 64 * vm.MiB, Interface: "nvme"}, {Name: "sc", Size: 64 * vm.MiB, Interface: "scsi"}}})
	require.NoError(t, err)
	_, err = h.vms.Start(t.Context(), inst.ID, vm.WaitFor(h.guests.Until(guest.AgentReady())))
	require.NoError(t, err)
	g, err := h.vms.Live(t.Context(), inst.ID)
	require.NoError(t, err)
	for _, c := range []string{"query-block", "query-named-block-nodes", "query-version", "query-jobs"} {
		raw, err := g.QMP().Execute(t.Context(), c, nil)
		require.NoError(t, err)
		var v any
		json.Unmarshal(raw, &v)
		b, _ := json.MarshalIndent(v, "", " ")
		t.Logf("%s %s", c, b)
	}
}
