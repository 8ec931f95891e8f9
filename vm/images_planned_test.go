package vm_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/vm"
)

// TestPlannedImages: what is foretold is what a start hands to the backend.
func TestPlannedImages(t *testing.T) {
	b := newBench(t)
	keep := true
	cfg := vm.Config{Disks: []vm.Disk{{Size: vm.MiB}, {Name: "kept", Size: vm.MiB, Keep: &keep}}, CloudInit: &vm.CloudInit{}}
	inst := b.start(t, cfg)
	got := inst.Runtime.Disks
	require.Len(t, got, 2)
	dir := got[0].Path[:len(got[0].Path)-len("/"+inst.ID+"/disk0.qcow2")]
	require.Equal(t, got, inst.Config.PlannedImages(dir, inst.ID))
	require.Equal(t, b.backend.guest(inst.ID).spec.Seed, inst.Config.PlannedSeed(dir, inst.ID))
	require.Empty(t, vm.Config{}.PlannedSeed(dir, inst.ID))
	require.Equal(t, []vm.Image{{Name: "disk0", Path: "/a.raw", Format: "raw"}, {Name: "disk1", Path: "/b.qcow2", Format: "qcow2", ReadOnly: true}, {Name: "cd"}},
		vm.Config{Disks: []vm.Disk{{Path: "/a.raw"}, {Base: "/b.qcow2", ReadOnly: true}, {Name: "cd", Media: "cdrom"}}}.PlannedImages(dir, inst.ID))
}
