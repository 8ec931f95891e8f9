package snapshots_test

import (
	"crypto/sha256"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/snapshot"
)

// goodNames work with every kind of snapshot.
var goodNames = []string{
	"plain", "with spaces  in it", " leading and trailing ", "'single'", `"double"`, "`back`", `back\slash`, "it's \"both\"",
	"-dash", "--help", "-a", "-", "--", "1a", "-1", "1.0", "0x10", "a,b", "a,,b", "a=b,driver=raw", "100%", "%s%n", "$(id)", "$HOME", "a;b", "a|b",
	"&", "*", "?", "#", "..", ".", "/", "a/b", "../../etc/passwd", "json:{}", "nbd://x", "{}", "[1]", "null", "ü", "u\u0308", "שלום",
	"مرحبا", "日本語", "🙂", "👩‍👩‍👧‍👦", "é'\"-,%", "current", "base", strings.Repeat("x", 255), strings.Repeat("ü", 127) + "x", "snapshot.id=1", "snapshot.name=a", "ID",
}

// badNames are refused.
var badNames = []string{
	"", "0", "1", "007", "12345678901234567890", "a\nb", "\n", "a\x00b", "\x00", "a\tb", "\x1b[31m", "\x7f", "\u0085", "\xff\xfe", "a\xc3",
	strings.Repeat("x", 256), strings.Repeat("ü", 128), strings.Repeat("ü", 255), strings.Repeat("x", 100_000),
}

// TestNames: a name works, with every kind of snapshot, or is refused before anything is done.
func TestNames(t *testing.T) {
	for kind, opts := range map[snapshot.Kind][]snapshot.Option{
		snapshot.Internal: nil, snapshot.Memory: nil, snapshot.External: {snapshot.DiskOnly()},
	} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			p := openVictim(t, newTemplate(t, withInternal).dir)
			defer p.close()
			require.NoError(t, p.m.Snapshot.Delete(t.Context(), victim, base))
			if kind != snapshot.Internal {
				p.start()
				defer p.stop()
			}
			t.Run("bad", func(t *testing.T) { p.on(t).refuses(opts) })
			t.Run("good", func(t *testing.T) { p.on(t).takes(kind, opts) })
		})
	}
}

// on returns the same patient for a subtest.
func (p patient) on(t *testing.T) *patient {
	p.t = t
	return &p
}

func (p *patient) refuses(opts []snapshot.Option) {
	before := p.fingerprint()
	for _, name := range badNames {
		short := name[:min(len(name), 20)]
		_, err := p.m.Snapshot.Create(p.ctx(), victim, name, opts...)
		require.ErrorIs(p.t, err, errors.ErrInvalidConfiguration, "%q", short)
		require.Less(p.t, len(err.Error()), 2000, "%q", short)
		require.NotContains(p.t, err.Error(), "\n", "%q", short)
		require.ErrorIs(p.t, p.m.Snapshot.Load(p.ctx(), victim, name), errors.ErrMaqet, "%q", short)
		require.ErrorIs(p.t, p.m.Snapshot.Delete(p.ctx(), victim, name), errors.ErrMaqet, "%q", short)
	}
	require.Empty(p.t, p.list())
	require.Equal(p.t, before, p.fingerprint())
}

// fingerprint tells one content of all images from another.
func (p *patient) fingerprint() string {
	p.t.Helper()
	h := sha256.New()
	for _, path := range p.images() {
		data, err := os.ReadFile(path)
		require.NoError(p.t, err)
		_, err = fmt.Fprintln(h, path, len(data), sha256.Sum256(data))
		require.NoError(p.t, err)
	}
	return fmt.Sprintf("%x", h.Sum(nil))
}

func (p *patient) takes(kind snapshot.Kind, opts []snapshot.Option) {
	names := goodNames
	if kind == snapshot.External && !long() {
		names = names[len(names)-8:] // they are in the database only
	}
	for _, name := range names {
		p.write(3)
		made, err := p.m.Snapshot.Create(p.ctx(), victim, name, opts...)
		require.NoError(p.t, err, "%q", name)
		require.Equal(p.t, name, made.Name)
		require.Equal(p.t, kind, made.Kind)
		_, err = p.m.Snapshot.Create(p.ctx(), victim, name, opts...)
		require.ErrorIs(p.t, err, errors.ErrSnapshotExists, "%q", name)
		require.Len(p.t, p.list(), 1)
		require.Contains(p.t, p.list(), name)
		p.write(4)
		require.NoError(p.t, p.m.Snapshot.Load(p.ctx(), victim, name), "%q", name)
		require.Equal(p.t, 3, p.present())
		require.NoError(p.t, p.m.Snapshot.Delete(p.ctx(), victim, name), "%q", name)
		require.Empty(p.t, p.list())
	}
	p.requireTruth()
}
