package storetest

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/snapshot"
	"github.com/maqet/maqet/vm"
)

// Records is a store that keeps snapshots beside their VMs.
type Records interface {
	vm.Store
	snapshot.Records
}

// RunRecords runs every test that holds for any store that keeps snapshots. open returns a new,
// empty store each time; RunRecords closes it.
func RunRecords(t *testing.T, open func(t *testing.T) Records) {
	for name, test := range map[string]func(*testing.T, Records){
		"PutAndList":  testSnapshotsPut,
		"Replaced":    testSnapshotsReplaced,
		"OddNames":    testSnapshotsOddNames,
		"Dropped":     testSnapshotsDropped,
		"GoWithTheVM": testSnapshotsGo,
		"AreCopies":   testSnapshotsCopies,
		"Fifty":       testSnapshotsFifty,
		"Concurrent":  testSnapshotsConcurrent,
		"Cancelled":   testSnapshotsCancelled,
		"Closed":      testSnapshotsClosed,
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t)
			t.Cleanup(func() { require.NoError(t, s.Close()) })
			test(t, s)
		})
	}
}

// record returns a snapshot of the nth VM with every part in use.
func record(n int, name string) snapshot.Record {
	ran := Whole(n)
	return snapshot.Record{
		VM: ran.ID, Name: name, ID: ID(1000 + n), Kind: snapshot.Memory, Description: "before <&> \u2028", Parent: "root",
		Created: time.Date(2026, 3, 4, 5, 6, 7, 89_000_001, time.UTC), VMClock: 12_345_678, Size: 1<<62 - 1,
		Disks:   []snapshot.RecordDisk{{Name: "disk0", Path: "/images/a,b", Format: "qcow2", Layer: "/images/layer"}},
		Vmstate: "disk0", Config: ran.Config, Plugged: json.RawMessage(`[{"id":"scratch"}]`), Unplugged: []string{"disk1"},
		Machine: "pc-q35-7.2", Version: "7.2.0", Pending: snapshot.Creating, Undo: json.RawMessage(`{"a":1}`),
	}
}

func putRecords(t *testing.T, s Records, list ...snapshot.Record) {
	t.Helper()
	for _, r := range list {
		require.NoError(t, s.PutSnapshot(t.Context(), r))
	}
}

// requireRecords fails unless the VM has exactly these snapshots.
func requireRecords(t *testing.T, s Records, id string, want ...snapshot.Record) {
	t.Helper()
	got, err := s.Snapshots(t.Context(), id)
	require.NoError(t, err)
	if len(want) == 0 {
		require.Empty(t, got)
		return
	}
	require.Equal(t, want, got)
}

func testSnapshotsPut(t *testing.T, s Records) {
	create(t, s, instance(1))
	requireRecords(t, s, ID(1))
	putRecords(t, s, record(1, "b"), record(2, "other"), record(1, "a"), record(1, "B"))
	requireRecords(t, s, ID(1), record(1, "B"), record(1, "a"), record(1, "b"))
	requireRecords(t, s, ID(2), record(2, "other"))
	requireRecords(t, s, ID(3))
	requireRecords(t, s, "vm0001")
}

func testSnapshotsReplaced(t *testing.T, s Records) {
	putRecords(t, s, record(1, "a"), record(2, "a"), record(1, "b"))
	done := snapshot.Record{VM: ID(1), Name: "a", Kind: snapshot.Internal}
	putRecords(t, s, done)
	requireRecords(t, s, ID(1), done, record(1, "b"))
	requireRecords(t, s, ID(2), record(2, "a"))
}

func testSnapshotsOddNames(t *testing.T, s Records) {
	var want []snapshot.Record
	for _, name := range []string{" before upgrade ", `"quoted"`, "%", "'; DROP TABLE snapshots; --", "--help", strings.Repeat("n", 255), "ä☃"} {
		want = append(want, record(1, name))
	}
	putRecords(t, s, want...)
	requireRecords(t, s, ID(1), want...)
	for _, r := range want {
		require.NoError(t, s.DropSnapshot(t.Context(), r.VM, r.Name))
	}
	requireRecords(t, s, ID(1))
}

func testSnapshotsDropped(t *testing.T, s Records) {
	putRecords(t, s, record(1, "a"), record(1, "b"), record(2, "a"))
	for range 2 {
		require.NoError(t, s.DropSnapshot(t.Context(), ID(1), "a"), "a second time, too")
		requireRecords(t, s, ID(1), record(1, "b"))
		requireRecords(t, s, ID(2), record(2, "a"))
	}
}

// testSnapshotsGo: a VM's snapshots vanish with its record, and in no other way.
func testSnapshotsGo(t *testing.T, s Records) {
	a, b := create(t, s, instance(1)), create(t, s, instance(2))
	putRecords(t, s, record(1, "a"), record(1, "b"), record(2, "a"))
	a, err := s.Update(t.Context(), a, a.State, a.Version)
	require.NoError(t, err)
	require.Error(t, s.Delete(t.Context(), a.ID, a.State, a.Version+1))
	requireRecords(t, s, a.ID, record(1, "a"), record(1, "b"))

	require.NoError(t, s.Delete(t.Context(), a.ID, a.State, a.Version))
	requireRecords(t, s, a.ID)
	requireRecords(t, s, b.ID, record(2, "a"))
	create(t, s, instance(1))
	requireRecords(t, s, a.ID)
}

func testSnapshotsCopies(t *testing.T, s Records) {
	mine := record(1, "a")
	putRecords(t, s, mine)
	spoil := func(r snapshot.Record) {
		r.Disks[0].Path, r.Unplugged[0], r.Undo[2], r.Config.Labels["team"] = "spoilt", "spoilt", 'x', "spoilt"
	}
	spoil(mine)
	requireRecords(t, s, ID(1), record(1, "a"))
	got, err := s.Snapshots(t.Context(), ID(1))
	require.NoError(t, err)
	spoil(got[0])
	requireRecords(t, s, ID(1), record(1, "a"))
}

func testSnapshotsFifty(t *testing.T, s Records) {
	var want []snapshot.Record
	for n := range 50 {
		want = append(want, record(1, fmt.Sprintf("%02d", n)))
	}
	for n := range want {
		putRecords(t, s, want[(n*7)%len(want)])
	}
	requireRecords(t, s, ID(1), want...)
}

func testSnapshotsConcurrent(t *testing.T, s Records) {
	const each = 10
	var wg sync.WaitGroup
	for n := range racers {
		wg.Go(func() {
			for i := range each {
				errs := []error{
					s.PutSnapshot(t.Context(), record(1, fmt.Sprint("mine", n*each+i))), s.PutSnapshot(t.Context(), record(1, "ours")),
					s.DropSnapshot(t.Context(), ID(1), "nobody's"),
				}
				_, err := s.Snapshots(t.Context(), ID(1))
				if err := errors.Join(append(errs, err)...); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	list, err := s.Snapshots(t.Context(), ID(1))
	require.NoError(t, err)
	require.Len(t, list, racers*each+1)
}

// recordCalls is every method for snapshots.
func recordCalls(ctx context.Context, s Records) map[string]error {
	_, err := s.Snapshots(ctx, ID(1))
	return map[string]error{"PutSnapshot": s.PutSnapshot(ctx, record(1, "z")), "DropSnapshot": s.DropSnapshot(ctx, ID(1), "a"), "Snapshots": err}
}

func testSnapshotsCancelled(t *testing.T, s Records) {
	putRecords(t, s, record(1, "a"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for name, err := range recordCalls(ctx, s) {
		require.ErrorIs(t, err, context.Canceled, name)
		require.ErrorIs(t, err, errors.ErrDatabase, name)
	}
	requireRecords(t, s, ID(1), record(1, "a"))
}

func testSnapshotsClosed(t *testing.T, s Records) {
	putRecords(t, s, record(1, "a"))
	require.NoError(t, s.Close())
	for name, err := range recordCalls(t.Context(), s) {
		require.ErrorIs(t, err, errors.ErrDatabase, name)
	}
}
