package storage_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/storage"
)

// TestOddNamesEverywhere: no operation takes a name, of an image or of its base, for anything else.
func TestOddNamesEverywhere(t *testing.T) {
	m, root := manage(t)
	ctx := t.Context()
	data := filled(3, 1)
	for i, name := range oddNames {
		dir := filepath.Join(root, itoa(i)) + "/" // filepath.Join would clean the name
		raw := dir + "raw " + name
		require.NoError(t, os.MkdirAll(dir, 0o700))
		require.NoError(t, os.WriteFile(raw, data, 0o600))
		base, over, clone := dir+name, dir+"over "+name, dir+"clone "+name
		_, err := m.Import(ctx, storage.ImportSpec{Source: raw, Format: "raw", Path: base, To: "qcow2"})
		require.NoError(t, err, name)
		_, err = m.Overlay(ctx, storage.OverlaySpec{Path: over, Base: base, BaseFormat: "qcow2"})
		require.NoError(t, err, name)
		_, err = m.Resize(ctx, storage.ResizeSpec{Path: over, Format: "qcow2", Size: 2 * mib})
		require.NoError(t, err, name)
		_, err = m.Clone(ctx, storage.CloneSpec{Source: over, Format: "qcow2", Path: clone})
		require.NoError(t, err, name)
		_, err = m.Rebase(ctx, storage.RebaseSpec{Path: clone, Base: raw, BaseFormat: "raw"})
		require.NoError(t, err, name)
		_, err = m.Compress(ctx, storage.CompressSpec{Path: clone})
		require.NoError(t, err, name)
		require.NoError(t, m.CreateSnapshot(ctx, clone, "s"), name)
		require.NoError(t, m.Repair(ctx, clone), name)
		require.NoError(t, m.LoadSnapshot(ctx, clone, "s"), name)
		require.NoError(t, m.DeleteSnapshot(ctx, clone, "s"), name)
		requireContent(t, append(data[:mib:mib], make([]byte, mib)...), clone, "qcow2")
		_, err = m.Info(ctx, clone, "qcow2")
		require.NoError(t, err, name)
		_, err = m.Map(ctx, clone, "qcow2")
		require.NoError(t, err, name)
		_, err = m.Measure(ctx, storage.MeasureSpec{Path: clone, Format: "qcow2"})
		require.NoError(t, err, name)
		_, err = m.Check(ctx, clone, "qcow2")
		require.NoError(t, err, name)
		_, err = m.Bitmaps(ctx, clone)
		require.NoError(t, err, name)
		_, err = m.Commit(ctx, storage.CommitSpec{Path: over})
		require.NoError(t, err, name)
		_, err = m.Rebase(ctx, storage.RebaseSpec{Path: over})
		require.NoError(t, err, name)
		found, err := m.Verify(ctx, storage.VerifySpec{Deep: true})
		require.NoError(t, err, name)
		require.Empty(t, found, name)
	}
}

// TestOddSizes: what is not of whole sectors, or of nothing at all.
func TestOddSizes(t *testing.T) {
	m, root := manage(t)
	ctx := t.Context()
	for _, size := range []int{0, 1, 511, 513, 65537} {
		raw := filepath.Join(t.TempDir(), "raw")
		data := filled(9, 1)[:size]
		require.NoError(t, os.WriteFile(raw, data, 0o600))
		at := func(name string) string { return filepath.Join(root, itoa(size), name) }
		_, err := m.Clone(ctx, storage.CloneSpec{Source: raw, Format: "raw", Path: at("clone")})
		require.NoError(t, err, size)
		got, err := os.ReadFile(at("clone"))
		require.NoError(t, err)
		require.Equal(t, data, append([]byte{}, got...), size)
		img, err := m.Convert(ctx, storage.ConvertSpec{Source: raw, Format: "raw", Path: at("convert"), Progress: func(done, total int64) { require.LessOrEqual(t, done, total) }})
		require.NoError(t, err, size)
		require.EqualValues(t, (size+511)/512*512, img.Size, size)
		_, err = m.Import(ctx, storage.ImportSpec{Source: raw, Format: "raw", Path: at("import"), To: "raw"})
		require.NoError(t, err, size)
		over, err := m.Overlay(ctx, storage.OverlaySpec{Path: at("over"), Base: raw, BaseFormat: "raw", Size: 2 * mib})
		require.NoError(t, err, size)
		patch(t, over.Path, "qcow2", mib, filled(4, 1)[:4096])
		_, err = m.Commit(ctx, storage.CommitSpec{Path: over.Path})
		require.NoError(t, err, size)
		got, err = os.ReadFile(raw)
		require.NoError(t, err)
		require.Len(t, got, 2*mib)
		require.Equal(t, data, append([]byte{}, got[:size]...), size)
		require.Equal(t, make([]byte, 100), got[size:size+100])
		require.Equal(t, filled(4, 1)[:4096], got[mib:mib+4096], size)
	}
}
