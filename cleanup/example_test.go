package cleanup_test

import (
	"context"
	"fmt"
	"time"

	"github.com/maqet/maqet/cleanup"
	"github.com/maqet/maqet/vm"
)

// A program that ends stops what it started, at most four guests at once.
func ExampleCoordinator_StopAll() {
	var vms cleanup.VMs = newFake("db", "web") // maqet.New wires a vm.Manager: use its field Cleanup
	c := cleanup.New(vms)

	report, err := c.StopAll(context.Background(),
		cleanup.Matching(vm.Filter{Lifetime: vm.Ephemeral}),
		cleanup.Parallel(4), cleanup.Timeout(30*time.Second), cleanup.AndRemove())
	if err != nil {
		fmt.Println(err) // the other VMs are stopped all the same
	}
	for _, row := range report.Rows {
		fmt.Println(row.Name, row.Action, "by", row.Step)
	}
	// Output:
	// db removed by agent
	// web removed by agent
}

// Sweep clears away what programs that were killed have left.
func ExampleCoordinator_Sweep() {
	vms := newFake()
	vms.changed = []vm.Instance{{ID: "1", Name: "orphan", State: vm.Failed}}
	report, err := cleanup.New(vms).Sweep(context.Background())
	if err != nil {
		fmt.Println(err)
	}
	for _, row := range report.Rows {
		fmt.Println(row.Name, row.Action)
	}
	// Output: orphan removed
}
