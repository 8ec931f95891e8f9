package qapi_test

import (
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/qmp/qapi"
)

// The checker finds each kind of mistake.
func TestCheckerFindsMistakes(t *testing.T) {
	s := loadSchema(t, "10.0")
	type Args struct {
		JobID   string `json:"job-id,omitempty"`
		NodeNam string `json:"node-nam,omitempty"`
	}
	type Needed struct {
		Node    string `json:"node,omitempty"`
		Overlay string `json:"overlay"`
	}
	type Sent struct {
		Device string `json:"device"`
		Size   int64  `json:"size"`
	}
	type Types struct {
		Status  []string `json:"status"`
		Running string   `json:"running"`
	}
	type Nested struct {
		QEMU    struct{ Major string } `json:"qemu"`
		Package string                 `json:"package"`
	}
	for _, c := range []struct {
		name string
		typ  reflect.Type
		in   string
		args bool
		want []string
	}{
		{"unknown and missing members", reflect.TypeFor[Args](), s["blockdev-del"].ArgType, true,
			[]string{"no Args.job-id", "no Args.node-nam", "no field for node-name"}},
		{"omitempty on what is needed", reflect.TypeFor[Needed](), s["blockdev-snapshot"].ArgType, true,
			[]string{"Needed.node is needed"}},
		{"always sent, but optional", reflect.TypeFor[Sent](), s["block_resize"].ArgType, true,
			[]string{"Sent.device is optional", "no field for node-name"}},
		{"wrong types", reflect.TypeFor[Types](), s["query-status"].RetType, false,
			[]string{"[]string for an enumeration", "string for a boolean"}},
		{"deep down", reflect.TypeFor[Nested](), s["query-version"].RetType, false, []string{"no field for micro"}},
		{"a union for a struct", reflect.TypeFor[qapi.InputEvent](), s["query-version"].RetType, false, []string{"no union by type"}},
		{"a struct for a list", reflect.TypeFor[qapi.BlockInfo](), s["query-block"].RetType, false, []string{"for a list"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			k := &checker{schema: s, version: "10.0", seen: map[string]bool{}, used: map[string]bool{}}
			k.check("x", c.typ, c.in, c.args)
			found := strings.Join(k.problems, "\n")
			for _, want := range c.want {
				require.Contains(t, found, want)
			}
		})
	}

	k := &checker{schema: s, version: "10.0", seen: map[string]bool{}, used: map[string]bool{}, constants: map[string][]string{"RunState": {"running", "runing"}}}
	k.check("x", reflect.TypeFor[qapi.StatusInfo](), s["query-status"].RetType, false)
	found := strings.Join(k.problems, "\n")
	require.Contains(t, found, `has no RunState "runing"`)
	require.Contains(t, found, `no constant for "paused"`)
}
