package qmp

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
)

func TestSetLink(t *testing.T) {
	var last string
	m, _ := managed(t, func(request string) string { last = request; return `{"return": {}}` })
	require.NoError(t, m.SetLink(t.Context(), "web", "net0", true))
	require.JSONEq(t, `{"execute":"set_link","arguments":{"name":"net0","up":true}}`, last)

	m, _ = managed(t, always(`{"error": {"class": "DeviceNotFound", "desc": "Device 'lan' not found"}}`))
	err := m.SetLink(t.Context(), "web", "lan", false)
	require.ErrorIs(t, err, errors.ErrQMPCommand)
	var refusal *errors.QMPError
	require.ErrorAs(t, err, &refusal)
	require.ErrorContains(t, err, "Config.Networks")

	m, _ = managed(t, always(`{"return": {}}`), WithPolicy(Policy{Normal: Deny}))
	require.ErrorIs(t, m.SetLink(t.Context(), "web", "net0", true), errors.ErrQMPDenied)
}
