package vm_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/vm"
)

// TestTextsThatTheRecordCantHold: the record is JSON, where what is not UTF-8 would silently
// be another text at the next start.
func TestTextsThatTheRecordCantHold(t *testing.T) {
	const bad = "a\xff\xc3b"
	for field, cfg := range map[string]vm.Config{
		"args[0]":                  {Args: []string{bad}},
		"fw_cfg[0].text":           {FwCfg: []vm.FwCfg{{Name: "opt/a", Text: bad}}},
		"cloud_init.files[0].text": {CloudInit: &vm.CloudInit{Files: []vm.CloudFile{{Path: "/a", Text: bad}}}},
		"cloud_init.run[0][1]":     {CloudInit: &vm.CloudInit{Run: [][]string{{"echo", bad}}}},
	} {
		var problems *errors.ConfigError
		require.ErrorAs(t, cfg.Validate(), &problems, field)
		require.Len(t, problems.Problems, 1)
		require.True(t, problems.Has(field), "%v", problems)
	}
}
