package configdoc

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"
)

const root = "../.."

// TestFilesAreCurrent: docs/config.md and maqet.schema.json say what the types say.
func TestFilesAreCurrent(t *testing.T) {
	files, err := Files(root)
	require.NoError(t, err)
	require.Len(t, files, 2)
	for name, want := range files {
		have, err := os.ReadFile(filepath.Join(root, name))
		require.NoError(t, err)
		require.Equal(t, string(want), string(have), "run go generate ./vm")
	}
}

// TestEveryKeyIsDocumented: with type, default and example.
func TestEveryKeyIsDocumented(t *testing.T) {
	sections, err := Read(root)
	require.NoError(t, err)
	page := string(Markdown(sections))
	keys := 0
	for _, s := range sections {
		for _, k := range s.Keys {
			keys++
			require.NotEmpty(t, k.Default, k.Place)
			require.NotEmpty(t, k.Example, k.Place)
			require.Contains(t, page, "| `"+k.Name+"` | "+typeName(k.Type)+" | ", k.Place)
		}
	}
	require.Greater(t, keys, 120)
	require.NotContains(t, page, "%!")
	for line := range strings.Lines(page) {
		if strings.HasPrefix(line, "| `") && !strings.HasPrefix(line, "| `binary`, ") {
			require.NotContains(t, line, "||")
		}
	}
}

// schema compiles maqet.schema.json, which has to be a schema itself.
func schema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	compiled, err := jsonschema.NewCompiler().Compile(filepath.Join(root, "maqet.schema.json"))
	require.NoError(t, err)
	return compiled
}

func validate(t *testing.T, s *jsonschema.Schema, text []byte) error {
	t.Helper()
	asJSON, err := yaml.YAMLToJSON(text)
	require.NoError(t, err, "%s", text)
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(asJSON))
	require.NoError(t, err)
	return s.Validate(doc)
}

// TestSchemaTakes: it takes every file that is there to be copied.
func TestSchemaTakes(t *testing.T) {
	s := schema(t)
	files, err := filepath.Glob(filepath.Join(root, "examples/*/*.yaml"))
	require.NoError(t, err)
	files = append(files, filepath.Join(root, "vm/testdata/every-key.yaml"))
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		require.NoError(t, validate(t, s, text), file)
	}
	for _, text := range []string{
		"{}", "memory: 1073741824", "memory: ~", "cpu: 2", "cpu: {count: 2}", "display: none", "disks: [{name: a, remove: true}]", "tpm: {version: 2.0}",
		"timeouts: {ready: 0}", "boot: ~\ndisks: ~\nrng: {}", "vga: std", "devices: [{id: a, props: {x: [1, on], y: {z: 1.5}}}]",
		"labels: {a: 1}", "storage: [{size: 1G}]", "memory: 1.5 gib",
	} {
		require.NoError(t, validate(t, s, []byte(text)), text)
	}
}

// TestSchemaRefuses: it knows what LoadConfig refuses by itself.
func TestSchemaRefuses(t *testing.T) {
	s := schema(t)
	for _, text := range []string{
		"memroy: 1G", "memory: [1G]", "memory: lots", "memory: -1", "cpu: many", "disks: {}", "disks: [a]", "disks: [{sise: 1G}]", "pvpanic: yes please",
		"accel: hvf", "timeouts: {ready: 30}", "timeouts: {ready: soon}", "vsock: {cid: -1}", "vsock: {cid: 4294967296}", "labels: [a]", "labels: {a: [b]}",
		"networks: [{type: usr}]", "networks: [{forwards: [{gest: 22}]}]", "args: -x", "boot: bzImage", "boot: {remove: true}", "template: 1",
		"networks: [{forwards: [{remove: true}]}]",
	} {
		require.Error(t, validate(t, s, []byte(text)), text)
	}
}

func TestAlternatives(t *testing.T) {
	for comment, want := range map[string][]string{
		`X is "a" (the default), "b" or "c".`:          {"a", "b", "c"},
		`X is "a" (or "x"), "b" (see "y") or "c" (z).`: {"a", "b", "c"},
		`"a" or "b"; else not.`:                        {"a", "b"},
		`X is "a", "b" or the name of one.`:            nil,
		`X is "a" or a card: "b", "c", ...`:            nil,
		`Empty: "a".`:                                  nil,
		`X begins with "a" or "b".`:                    nil,
		`X is "a`:                                      nil,
		`X.`:                                           nil,
	} {
		require.Equal(t, want, alternatives(comment), comment)
	}
}

func TestByDefault(t *testing.T) {
	for comment, want := range map[string]string{
		`X is "a" (the default) or "b".`:                  `"a"`,
		`Empty: 256 MiB. At least 1 MiB.`:                 "256 MiB",
		`X. Empty: "x0", "x1", ... by position.`:          `"x0", "x1", ... by position`,
		`Empty, with a kernel: the default guest's; else`: "the default guest's",
		`X, as "y", which is the default.`:                `"y"`,
		`until it answers: 15 s.`:                         "15 s",
		`The default follows the VM: true for some.`:      "true for some",
		`X is a path.`: "",
	} {
		require.Equal(t, want, byDefault(comment), comment)
	}
}
