package process

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/storage"
	"github.com/maqet/maqet/vm"
)

// TestQEMUTakesTexts starts a QEMU for each nasty text with that text in all fields at once
// that take it, with files of such names where they are paths. It has to show each text as
// it is, and to have made nothing that was not asked for.
func TestQEMUTakesTexts(t *testing.T) {
	h := newHouse(t)
	for n, name := range slices.Sorted(maps.Keys(nasty)) {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(h.dir, strconv.Itoa(n))
			placed := placeTexts(t, dir, nasty[name])
			if tryQEMU(t, h.dir, dir, nasty[name], placed) == nil {
				return
			}
			for i, p := range placed { // which one is it?
				if err := tryQEMU(t, h.dir, filepath.Join(dir, "alone", strconv.Itoa(i)), nasty[name], []placedText{p}); err != nil {
					t.Errorf("%s = %q: %v", p.field.path, p.value, err)
				}
			}
			require.True(t, t.Failed(), "each alone is fine, and together they are not")
		})
	}
}

// placedText is a text that a field takes, and whose file is there.
type placedText struct {
	field textField
	value string
}

func placeTexts(t *testing.T, dir, text string) (placed []placedText) {
	t.Helper()
	for n, f := range textFields() {
		s := sites[f.path]
		if exception, _ := withoutReason(f.path); exception != "" && exception != "binary" || s.untried != "" {
			continue
		}
		if _, value, refusal := planWith(t, f, filepath.Join(dir, strconv.Itoa(n)), text); refusal == nil {
			placed = append(placed, placedText{f, value})
		}
	}
	return placed
}

// tryQEMU starts a QEMU with these texts, and returns how it has taken one otherwise.
func tryQEMU(t *testing.T, root, dir, text string, placed []placedText) error {
	t.Helper()
	logs := filepath.Join(dir, "logs")
	if !strings.ContainsAny(text, "\x00/") && len(text) < 256 { // these paths are the library's user's
		logs = filepath.Join(logs, text)
	}
	b, err := New(Options{RuntimeDir: filepath.Join(root, "run"), LogDir: logs, CacheDir: probes})
	require.NoError(t, err)
	defer func() { require.NoError(t, b.Close()) }()
	spec := specWith(t, dir, placed)
	if !strings.ContainsRune(text, 0) && utf8.ValidString(text) { // Validate refuses most, and the backend need not rely on it
		spec.Config.Name = text
	}
	host, err := b.resolve(t.Context(), spec.Config)
	require.NoError(t, err)
	plan, err := build(spec, host, b.files(spec.ID))
	require.NoError(t, err)
	before := filesBelow(t, root)

	got, err := b.Launch(t.Context(), spec)
	require.NoError(t, err)
	g := got.(*guest)
	defer (&house{t: t, b: b}).end(g, spec)
	if err := g.Connect(patient(t)); err != nil {
		return err
	}
	texts := toldBy(t, g)
	require.True(t, texts[spec.Config.Name], "the name")
	for _, p := range placed {
		s, shown := sites[p.field.path], p.value
		if s.shown != nil {
			shown = s.shown(p.value)
		}
		if s.unseen != "" {
			continue
		} else if p.field.path == "binary" {
			require.Equal(t, shown, g.runtime.Args[0])
		} else if !texts[shown] {
			return fmt.Errorf("%s = %q is nowhere in what QEMU says", p.field.path, shown)
		}
	}
	return nothingElse(t, g, plan, before, root, logs)
}

// specWith is what a Manager would make of a Config with these texts, images included.
func specWith(t *testing.T, dir string, placed []placedText) vm.LaunchSpec {
	t.Helper()
	require.NoError(t, os.MkdirAll(dir, 0o700))
	var cfg vm.Config
	for _, p := range placed {
		s := sites[p.field.path]
		p.field.set(&cfg, s.item, p.value)
		if s.rest != nil {
			s.rest(&cfg)
		}
	}
	fill(&cfg)
	spec := specFrom(cfg)
	spec.ID = uuid.NewString()
	if spec.Boot.Kernel == anyKernel {
		spec.Boot.Kernel = filepath.Join(dir, anyKernel)
		fakeKernel(t, spec.Boot.Kernel)
	}
	images, err := storage.NewManager(storage.Options{Root: filepath.Join(dir, "images")})
	require.NoError(t, err)
	for i, d := range cfg.Disks {
		img := &spec.Images[i]
		if d.Path != "" {
			continue
		}
		img.Path, img.Format = filepath.Join(dir, "images", img.Name), vm.FormatQcow2
		if d.KeyFile != "" {
			require.NoError(t, os.WriteFile(img.Path, encryptedImage(), 0o600))
			continue
		}
		if d.Base != "" {
			_, err = images.Overlay(t.Context(), storage.OverlaySpec{Path: img.Path, Base: d.Base, BaseFormat: d.Format})
		} else {
			_, err = images.Create(t.Context(), storage.CreateSpec{Path: img.Path, Size: int64(d.Size)})
		}
		require.NoError(t, err)
	}
	return spec
}

// encryptedImage returns an image that opens with what keyFile writes. To make one takes a
// second or two, and it is needed for each text.
var encryptedImage = sync.OnceValue(func() []byte {
	path := filepath.Join(probes, "encrypted")
	images, err := storage.NewManager(storage.Options{Root: probes})
	if err != nil {
		return nil
	}
	_, err = images.Create(context.Background(), storage.CreateSpec{Path: path, Size: 1 << 20,
		Encryption: &storage.Encryption{Secret: storage.Secret{Value: []byte(keyText)}, Unlock: time.Millisecond}})
	if err != nil {
		return nil // QEMU will say that it is no image
	}
	data, _ := os.ReadFile(path)
	return data
})

// toldBy returns all texts that QEMU tells of itself: its name, its block nodes and character
// devices, and the properties of its machine, devices and objects; and the files that it has
// open.
func toldBy(t *testing.T, g *guest) map[string]bool {
	t.Helper()
	told := map[string]bool{}
	for _, command := range []string{"query-name", "query-block", "query-named-block-nodes", "query-chardev"} {
		gather(ask[any](t, g, command, nil), told)
	}
	open, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", g.runtime.Process.PID))
	require.NoError(t, err)
	for _, fd := range open {
		if path, err := os.Readlink(fd); err == nil { // it may have been closed since
			told[path] = true
		}
	}
	paths := []string{"/machine"}
	for _, folder := range []string{"/machine/peripheral", "/objects"} {
		for _, child := range childrenOf(t, g, folder) {
			paths = append(paths, folder+"/"+child)
		}
	}
	for _, path := range paths {
		for _, p := range ask[[]struct{ Name, Type string }](t, g, "qom-list", map[string]string{"path": path}) {
			if p.Type == "str" || p.Type == "string" {
				raw, err := g.QMP().Execute(t.Context(), "qom-get", map[string]string{"path": path, "property": p.Name})
				if err != nil { // some can only be set
					continue
				}
				var text string
				require.NoError(t, json.Unmarshal(raw, &text))
				told[text] = true
			}
		}
	}
	return told
}

func gather(v any, told map[string]bool) {
	switch v := v.(type) {
	case string:
		told[v] = true
	case map[string]any:
		for _, value := range v {
			gather(value, told)
		}
	case []any:
		for _, value := range v {
			gather(value, told)
		}
	}
}

func childrenOf(t *testing.T, g *guest, folder string) (names []string) {
	t.Helper()
	for _, p := range ask[[]struct{ Name, Type string }](t, g, "qom-list", map[string]string{"path": folder}) {
		if strings.HasPrefix(p.Type, "child<") && !strings.HasSuffix(p.Name, ".ram") { // the machine's own memory
			names = append(names, p.Name)
		}
	}
	return names
}

// nothingElse compares what QEMU has, and which files there are, with what was asked for.
func nothingElse(t *testing.T, g *guest, plan *builder, before []string, root, logs string) error {
	t.Helper()
	has := map[string][]string{"device": childrenOf(t, g, "/machine/peripheral"), "object": childrenOf(t, g, "/objects")}
	for _, c := range ask[[]struct{ Label string }](t, g, "query-chardev", nil) {
		has["chardev"] = append(has["chardev"], c.Label)
	}
	for _, n := range ask[[]struct {
		Name string `json:"node-name"`
	}](t, g, "query-named-block-nodes", nil) {
		if !strings.HasPrefix(n.Name, "#") { // one that QEMU has named: a base
			has["blockdev"] = append(has["blockdev"], n.Name)
		}
	}
	for option, names := range has {
		var want []string
		for _, a := range plan.args {
			if a.option == option {
				want = append(want, a.id)
			}
		}
		slices.Sort(names)
		slices.Sort(want)
		if !slices.Equal(names, want) {
			return fmt.Errorf("it has -%s %q, and was asked for %q", option, names, want)
		}
	}
	for _, path := range filesBelow(t, root) {
		if !slices.Contains(before, path) && !strings.HasPrefix(path, g.runtime.Dir) && !strings.HasPrefix(path, logs) && !strings.HasPrefix(logs, path) {
			return fmt.Errorf("a file that nobody asked for: %q", path)
		}
	}
	return nil
}
