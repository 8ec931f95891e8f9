package storetest

import (
	"context"
	"fmt"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/storage"
	"github.com/maqet/maqet/vm"
)

// RunRegistry runs every test that holds for any storage.Registry. open returns a new, empty
// one each time; RunRegistry closes it if it is an io.Closer. One that is a vm.Store, too, keeps
// files when their VM goes.
func RunRegistry(t *testing.T, open func(t *testing.T) storage.Registry) {
	for name, test := range map[string]func(*testing.T, storage.Registry){
		"PutAndFind":   testFilesPut,
		"Replaced":     testFilesReplaced,
		"Filters":      testFilesFilters,
		"OddPaths":     testFilesOddPaths,
		"Dropped":      testFilesDropped,
		"Concurrent":   testFilesConcurrent,
		"Cancelled":    testFilesCancelled,
		"Closed":       testFilesClosed,
		"OutliveTheVM": testFilesOutlive,
	} {
		t.Run(name, func(t *testing.T) {
			r := open(t)
			if c, ok := r.(io.Closer); ok {
				t.Cleanup(func() { require.NoError(t, c.Close()) })
			}
			test(t, r)
		})
	}
}

// file returns the nth file, of the first VM.
func file(n int) storage.File {
	return storage.File{
		Path: fmt.Sprintf("/images/%04d", n), Owner: ID(1), Disk: fmt.Sprintf("disk%d", n), Kind: storage.KindOverlay,
		Format: storage.FormatQcow2, Size: 1<<62 - int64(n), Base: "/bases/a", Unfinished: n%2 == 1,
		Created: time.Date(2026, 3, 4, 5, 6, 7, 89_000_001, time.UTC),
	}
}

func putFiles(t *testing.T, r storage.Registry, files ...storage.File) {
	t.Helper()
	for _, f := range files {
		require.NoError(t, r.PutFile(t.Context(), f))
	}
}

// requireFiles fails unless the filter selects exactly these.
func requireFiles(t *testing.T, r storage.Registry, f storage.FileFilter, want ...storage.File) {
	t.Helper()
	got, err := r.Files(t.Context(), f)
	require.NoError(t, err)
	if len(want) == 0 {
		require.Empty(t, got)
		return
	}
	require.Equal(t, want, got)
}

func testFilesPut(t *testing.T, r storage.Registry) {
	requireFiles(t, r, storage.FileFilter{})
	putFiles(t, r, file(3), file(1), file(2))
	requireFiles(t, r, storage.FileFilter{}, file(1), file(2), file(3))
	list, err := r.Files(t.Context(), storage.FileFilter{})
	require.NoError(t, err)
	list[0].Owner = "somebody else's"
	requireFiles(t, r, storage.FileFilter{Path: file(1).Path}, file(1))
}

func testFilesReplaced(t *testing.T, r storage.Registry) {
	putFiles(t, r, file(1), file(2))
	next := storage.File{Path: file(1).Path, Kind: storage.KindDisk, Format: storage.FormatRaw}
	putFiles(t, r, next)
	requireFiles(t, r, storage.FileFilter{}, next, file(2))
	requireFiles(t, r, storage.FileFilter{Owner: ID(1)}, file(2))
	requireFiles(t, r, storage.FileFilter{Base: "/bases/a"}, file(2))
	putFiles(t, r, file(1))
	requireFiles(t, r, storage.FileFilter{Owner: ID(1)}, file(1), file(2))
}

func testFilesFilters(t *testing.T, r storage.Registry) {
	other, orphan := file(3), file(4)
	other.Owner, other.Base = ID(2), file(1).Path
	orphan.Owner, orphan.Base = "", ""
	putFiles(t, r, orphan, other, file(2), file(1))
	requireFiles(t, r, storage.FileFilter{}, file(1), file(2), other, orphan)
	requireFiles(t, r, storage.FileFilter{Owner: ID(2)}, other)
	requireFiles(t, r, storage.FileFilter{Base: file(1).Path}, other)
	requireFiles(t, r, storage.FileFilter{Owner: ID(1), Base: file(1).Path})
	requireFiles(t, r, storage.FileFilter{Owner: ID(1), Path: file(2).Path}, file(2))
	for _, near := range []string{"/IMAGES/0001", "/images/0001 ", "/images/000_", "/images/%", "images/0001"} {
		requireFiles(t, r, storage.FileFilter{Path: near})
	}
}

func testFilesOddPaths(t *testing.T, r storage.Registry) {
	for _, path := range []string{"/a'b", `/a"b`, "/a\nb", "/a;DROP TABLE files", "/%", "/ä☃", "/a\\b", "/ a "} {
		f := file(1)
		f.Path, f.Base = path, path+"'"
		putFiles(t, r, f)
		requireFiles(t, r, storage.FileFilter{Path: path}, f)
		requireFiles(t, r, storage.FileFilter{Base: path + "'"}, f)
		require.NoError(t, r.DropFile(t.Context(), path))
		requireFiles(t, r, storage.FileFilter{})
	}
}

func testFilesDropped(t *testing.T, r storage.Registry) {
	putFiles(t, r, file(1), file(2))
	for range 2 {
		require.NoError(t, r.DropFile(t.Context(), file(1).Path), "a second time, too")
		requireFiles(t, r, storage.FileFilter{}, file(2))
	}
	putFiles(t, r, file(1))
	requireFiles(t, r, storage.FileFilter{}, file(1), file(2))
}

func testFilesConcurrent(t *testing.T, r storage.Registry) {
	const each = 10
	var wg sync.WaitGroup
	for n := range racers {
		wg.Go(func() {
			for i := range each {
				mine := file(100 + n*each + i)
				errs := []error{r.PutFile(t.Context(), mine), r.PutFile(t.Context(), file(1)), r.DropFile(t.Context(), file(2).Path)}
				_, err := r.Files(t.Context(), storage.FileFilter{})
				if err := errors.Join(append(errs, err)...); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	list, err := r.Files(t.Context(), storage.FileFilter{})
	require.NoError(t, err)
	require.Len(t, list, racers*each+1)
}

// fileCalls is every method of a registry.
func fileCalls(ctx context.Context, r storage.Registry) map[string]error {
	_, err := r.Files(ctx, storage.FileFilter{})
	return map[string]error{"PutFile": r.PutFile(ctx, file(9)), "DropFile": r.DropFile(ctx, file(1).Path), "Files": err}
}

func testFilesCancelled(t *testing.T, r storage.Registry) {
	putFiles(t, r, file(1))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for name, err := range fileCalls(ctx, r) {
		require.ErrorIs(t, err, context.Canceled, name)
	}
	requireFiles(t, r, storage.FileFilter{}, file(1))
}

func testFilesClosed(t *testing.T, r storage.Registry) {
	c, ok := r.(io.Closer)
	if !ok {
		return // nothing to close
	}
	putFiles(t, r, file(1))
	require.NoError(t, c.Close())
	for name, err := range fileCalls(t.Context(), r) {
		require.ErrorIs(t, err, errors.ErrDatabase, name)
	}
}

func testFilesOutlive(t *testing.T, r storage.Registry) {
	s, ok := r.(vm.Store)
	if !ok {
		return // it knows no VMs
	}
	inst := create(t, s, instance(1))
	putFiles(t, r, file(1))
	require.NoError(t, s.Delete(t.Context(), inst.ID, inst.State, inst.Version))
	requireFiles(t, r, storage.FileFilter{Owner: inst.ID}, file(1))
}
