package snapshot_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/maqet/maqet"
	"github.com/maqet/maqet/snapshot"
	"github.com/maqet/maqet/vm"
)

// A snapshot of a running guest has its memory: the guest goes on from there when it is loaded.
func Example() {
	ctx := context.Background()
	m, err := maqet.New()
	if err != nil {
		log.Fatal(err)
	}
	defer m.Close()
	g, err := m.Run(ctx, vm.Config{Disks: []vm.Disk{{Size: vm.GiB}}})
	if err != nil {
		log.Fatal(err)
	}
	if _, err := g.Snapshot(ctx, "fresh", snapshot.Describe("before the test")); err != nil {
		log.Fatal(err)
	}
	if _, err := g.Exec(ctx, "rm", "-rf", "/etc"); err != nil {
		log.Fatal(err)
	}
	if err := g.Load(ctx, "fresh"); err != nil {
		log.Fatal(err)
	}
}

// What stands in the way is known beforehand, all of it.
func ExampleCoordinator_Blockers() {
	ctx := context.Background()
	m, err := maqet.New()
	if err != nil {
		log.Fatal(err)
	}
	defer m.Close()
	blockers, err := m.Snapshot.Blockers(ctx, "web")
	if err != nil {
		log.Fatal(err)
	}
	for _, b := range blockers {
		fmt.Println(b.Device, b.Reason, "->", b.Fix)
	}
}

// A snapshot without memory keeps the disks while the guest goes on writing elsewhere. Commit
// makes that part of them; Drop gives it up.
func ExampleCoordinator_Commit() {
	ctx := context.Background()
	m, err := maqet.New()
	if err != nil {
		log.Fatal(err)
	}
	defer m.Close()
	if _, err := m.Snapshot.Create(ctx, "web", "before", snapshot.DiskOnly(), snapshot.MustFreeze()); err != nil {
		log.Fatal(err)
	}
	// copy the images that it keeps, update the system, ...
	if err := m.Snapshot.Commit(ctx, "web", "before"); err != nil {
		log.Fatal(err)
	}
}

// The first backup in a folder is whole, the next ones have what was written since.
func ExampleCoordinator_Backup() {
	ctx := context.Background()
	m, err := maqet.New()
	if err != nil {
		log.Fatal(err)
	}
	defer m.Close()
	b, err := m.Snapshot.Backup(ctx, "web", "/srv/backups/web")
	if err != nil {
		log.Fatal(err)
	}
	for _, d := range b.Disks {
		fmt.Println(b.Number, d.Name, d.File, d.Bytes)
	}
	if _, err := snapshot.RestoreBackup(ctx, "/srv/backups/web", snapshot.RestoreSpec{Dir: "/srv/restored"}); err != nil {
		log.Fatal(err)
	}
}

// A blocked operation names each device, and what to do.
func ExampleBlockedError() {
	err := error(&snapshot.BlockedError{Op: `create snapshot "fresh"`, VM: "web", Blockers: []snapshot.Blocker{
		{Device: "data", Reason: "is raw, and only qcow2 images hold snapshots", Fix: "convert it to qcow2"}}})
	var blocked *snapshot.BlockedError
	if errors.As(err, &blocked) {
		fmt.Println(blocked.Blockers[0].Device, "->", blocked.Blockers[0].Fix)
	}
	// Output: data -> convert it to qcow2
}
