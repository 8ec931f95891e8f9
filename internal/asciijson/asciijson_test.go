package asciijson

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestEscape(t *testing.T) {
	for in, want := range map[string]string{
		`{"a":"b"}`:           `{"a":"b"}`,
		`{"é":"\u00e9𝄞"}`:     `{"\u00e9":"\u00e9\ud834\udd1e"}`,
		"{\"\xff\":\"\xc3\"}": `{"\ufffd":"\ufffd"}`,
		"":                    "",
	} {
		require.Equal(t, want, string(Escape([]byte(in))))
	}
	text, err := json.Marshal("ünïcode 𝄞")
	require.NoError(t, err)
	var back string
	require.NoError(t, json.Unmarshal(Escape(text), &back))
	require.Equal(t, "ünïcode 𝄞", back)
}
