package storage_test

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/storage"
)

// sumsOf returns a file's SHA-256 and SHA-512.
func sumsOf(t *testing.T, path string) (string, string) {
	t.Helper()
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	short, long := sha256.Sum256(data), sha512.Sum512(data)
	return hex.EncodeToString(short[:]), hex.EncodeToString(long[:])
}

func TestImport(t *testing.T) {
	m, root := manage(t)
	data := filled(10, 8)
	for _, from := range []string{storage.FormatRaw, storage.FormatQcow2} {
		source := imageOf(t, from, data)
		short, long := sumsOf(t, source)
		for name, spec := range map[string]storage.ImportSpec{
			"as it is":  {},
			"256":       {SHA256: strings.ToUpper(short)},
			"512":       {SHA512: long},
			"both":      {SHA256: short, SHA512: long},
			"raw":       {To: storage.FormatRaw, SHA256: short},
			"qcow2":     {To: storage.FormatQcow2, SHA512: long},
			"clusters":  {To: storage.FormatQcow2, Qcow2: storage.Qcow2Options{ClusterSize: 1 << 20}},
			"flattened": {Backing: storage.BackingFlatten},
		} {
			seen := progress{t: t}
			spec.Source, spec.Format, spec.Progress = source, from, seen.report
			spec.Path = filepath.Join(root, from, name)
			img, err := m.Import(t.Context(), spec)
			require.NoError(t, err, name)
			require.Empty(t, img.Base)
			if spec.To == "" {
				require.Equal(t, from, img.Format)
			} else {
				require.Equal(t, spec.To, img.Format)
			}
			requireContent(t, data, img.Path, img.Format)
			requireRow(t, m, img)
			seen.requireDone(t)
		}
	}
}

func TestImportRefuses(t *testing.T) {
	m, root := manage(t)
	source := imageOf(t, "qcow2", filled(1, 1))
	short, long := sumsOf(t, source)
	base := imageOf(t, "raw", filled(1, 1))
	over := filepath.Join(filepath.Dir(base), "over")
	qemuImg(t, "create", "-q", "-f", "qcow2", "-b", base, "-F", "raw", over)
	secret := filepath.Join(filepath.Dir(base), "secret")
	qemuImg(t, "create", "-q", "-f", "qcow2", "-u", "-b", "/etc/hostname", "-F", "raw", secret, "1M")
	apart := filepath.Join(filepath.Dir(base), "apart")
	qemuImg(t, "create", "-q", "-f", "qcow2", "-o", "data_file="+apart+".raw", apart, "1M")
	for says, change := range map[string]func(*storage.ImportSpec){
		`"abc" is not 64`:           func(s *storage.ImportSpec) { s.SHA256 = "abc" },
		"is not 128 hexadecimal":    func(s *storage.ImportSpec) { s.SHA512 = short },
		"first bytes say qcow2":     func(s *storage.ImportSpec) { s.Format = "raw" },
		`format ""`:                 func(s *storage.ImportSpec) { s.Format = "" },
		"stands on another one":     func(s *storage.ImportSpec) { s.Source = over },
		`"/etc/hostname"`:           func(s *storage.ImportSpec) { s.Source = secret },
		"data in another file":      func(s *storage.ImportSpec) { s.Source = apart },
		`backing "rebase"`:          func(s *storage.ImportSpec) { s.Backing = "rebase" },
		"does not keep its base":    func(s *storage.ImportSpec) { s.Source, s.Backing, s.Compress = over, storage.BackingKeep, true },
		"does not exist":            func(s *storage.ImportSpec) { s.Source += "-missing" },
		"the path is empty":         func(s *storage.ImportSpec) { s.Source = "" },
		"sha256 of " + `"` + source: func(s *storage.ImportSpec) { s.SHA256 = strings.Repeat("0", 64) },
		"sha512 of " + `"` + source: func(s *storage.ImportSpec) { s.SHA256, s.SHA512 = short, "0"+long[1:127]+"0" },
	} {
		spec := storage.ImportSpec{Source: source, Format: "qcow2", Path: filepath.Join(root, "new")}
		change(&spec)
		_, err := m.Import(t.Context(), spec)
		require.ErrorIs(t, err, errors.ErrImageCreation, says)
		require.ErrorContains(t, err, says)
		requireNoRows(t, m)
	}
	var bad *storage.SumError
	for _, to := range []string{"qcow2", "raw"} {
		_, err := m.Import(t.Context(), storage.ImportSpec{Source: source, Format: "qcow2", To: to, Path: filepath.Join(root, "new"), SHA512: strings.Repeat("0", 128)})
		require.ErrorAs(t, err, &bad)
		require.Equal(t, storage.SumError{Path: source, Algorithm: "sha512", Want: strings.Repeat("0", 128), Got: long}, *bad)
	}
	requireEmpty(t, root)
	requireNoRows(t, m)
}

// TestImportWithBase: where it is asked for, the base is kept, by a name that leads there from
// anywhere, or all is made one.
func TestImportWithBase(t *testing.T) {
	m, root := manage(t)
	data := filled(11, 4)
	base := imageOf(t, "raw", data)
	over := filepath.Join(filepath.Dir(base), "over")
	qemuImg(t, "create", "-q", "-f", "qcow2", "-b", filepath.Base(base), "-F", "raw", over)
	copy(data[mib:], "written above")
	patch(t, over, "qcow2", mib, data[mib:mib+512])
	short, _ := sumsOf(t, over)

	kept, err := m.Import(t.Context(), storage.ImportSpec{Source: over, Format: "qcow2", Path: filepath.Join(root, "kept"),
		Backing: storage.BackingKeep, SHA256: short})
	require.NoError(t, err)
	require.Equal(t, base, kept.Base)
	requireContent(t, data, kept.Path, "qcow2")
	require.Equal(t, storage.KindOverlay, requireRow(t, m, kept).Kind)

	flat, err := m.Import(t.Context(), storage.ImportSpec{Source: over, Format: "qcow2", Path: filepath.Join(root, "flat"),
		Backing: storage.BackingFlatten, SHA256: short})
	require.NoError(t, err)
	require.Empty(t, flat.Base)
	require.Equal(t, storage.KindDisk, requireRow(t, m, flat).Kind)
	require.NoError(t, os.Remove(base))
	requireContent(t, data, flat.Path, "qcow2")
}

// TestImportChanging: an image that changes between its sum and its conversion is refused.
func TestImportChanging(t *testing.T) {
	m, root := manage(t)
	source := imageOf(t, "raw", filled(12, 8))
	short, _ := sumsOf(t, source)
	changed := false
	_, err := m.Import(t.Context(), storage.ImportSpec{Source: source, Format: "raw", To: "qcow2", Path: filepath.Join(root, "new"), SHA256: short,
		Progress: func(done, total int64) {
			if done >= total/2 && !changed {
				changed = true
				f, err := os.OpenFile(source, os.O_WRONLY, 0)
				require.NoError(t, err)
				_, err = f.WriteAt([]byte("changed"), 0)
				require.NoError(t, err)
				require.NoError(t, f.Close())
			}
		}})
	require.ErrorContains(t, err, "was changed while it was read")
	requireEmpty(t, root)
	requireNoRows(t, m)
}
