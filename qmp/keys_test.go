package qmp

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
)

func TestParseKeys(t *testing.T) {
	for text, want := range map[string]string{
		"a":                     "a",
		"ctrl-alt-f2":           "ctrl-alt-f2",
		"ctrl alt delete":       "ctrl-alt-delete",
		"ctrl c a":              "ctrl-c a",
		"ctrl ctrl-c":           "ctrl-c",
		"a-ctrl":                "a-ctrl",
		"shift alt":             "shift-alt",
		"f1 win":                "f1 meta_l",
		"ctrl-alt DEL Enter":    "ctrl-alt-delete ret",
		"Shift-minus minus":     "shift-minus minus",
		"esc pgup / . [ kp_5":   "esc pgup slash dot bracket_left kp_5",
		"altgr-q super shift_":  "",
		"a-a":                   "a",
		"shift-a b control-c d": "shift-a b ctrl-c d",
		"":                      "",
	} {
		chords, err := parseKeys("web", strings.Fields(text))
		if want == "" && text != "" {
			require.Error(t, err, text)
			continue
		}
		require.NoError(t, err, text)
		var got []string
		for _, c := range chords {
			got = append(got, strings.Join(c, "-"))
		}
		require.Equal(t, want, strings.Join(got, " "), text)
	}
}

func TestUnknownKeysAreNamed(t *testing.T) {
	_, err := parseKeys("web", []string{"a", "ctrl-dlete", "A", "ctrl--", "spc ret", "", "e\x00", "\xff-b"})
	var config *errors.ConfigError
	require.ErrorAs(t, err, &config)
	require.ErrorIs(t, err, errors.ErrConfigValidation)
	require.Equal(t, "web", config.VM)
	fixes := map[string]string{}
	for _, p := range config.Problems {
		fixes[p.Field] = p.Message + ": " + p.Fix
	}
	require.NotContains(t, fixes, "keys[0]")
	require.Contains(t, fixes["keys[1]"], `"dlete": did you mean delete, `)
	require.Contains(t, fixes["keys[2]"], `"shift-a"`)
	require.Contains(t, fixes["keys[3]"], `"minus"`)
	for _, field := range []string{"keys[4]", "keys[5]", "keys[6]", "keys[7]"} {
		require.Contains(t, fixes, field)
	}
}

func TestKeyNames(t *testing.T) {
	names := KeyNames()
	require.Contains(t, names, "caps_lock")
	require.Len(t, names, 162)
	for _, name := range names {
		code, ok := keyCode(name)
		require.True(t, ok, name)
		require.Equal(t, name, code, "no other name hides QEMU's own")
	}
	for _, alias := range strings.Fields("enter return escape del ins space bksp pageup pagedown prior next control " +
		"control_r shift_l alt_l option altgr win super super_r cmd prtsc break capslock numlock scrolllock period hyphen " +
		"equals quote grave = [ ] ; ' ` \\ , . / <") {
		code, ok := keyCode(alias)
		require.True(t, ok, alias)
		require.Contains(t, names, code, alias)
	}
}

// QEMU's own list is in its schema.
func TestQEMUHasNoOtherKeys(t *testing.T) {
	_, c := startQEMU(t)
	out, err := c.Execute(t.Context(), "query-qmp-schema", nil)
	require.NoError(t, err)
	var schema []struct{ Values []string }
	require.NoError(t, json.Unmarshal(out, &schema))
	for _, s := range schema {
		if len(s.Values) < 100 || s.Values[0] != "unmapped" {
			continue
		}
		for _, name := range s.Values {
			require.Contains(t, KeyNames(), name)
		}
		return
	}
	require.Fail(t, "the schema has no QKeyCode")
}
