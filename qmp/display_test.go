package qmp

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
)

func TestSetDisplayPassword(t *testing.T) {
	var last string
	m, _ := managed(t, func(request string) string {
		last = request
		return `{"return": {}}`
	})
	require.NoError(t, m.SetDisplayPassword(t.Context(), "web", DisplayVNC, `pa"ss`))
	require.JSONEq(t, `{"execute":"set_password","arguments":{"protocol":"vnc","password":"pa\"ss"}}`, last)
	require.NoError(t, m.SetDisplayPassword(t.Context(), "web", DisplaySpice, strings.Repeat("x", MaxSpicePassword)))
	last = ""
	for _, c := range []struct{ display, password, field string }{
		{"gtk", "secret", "display"}, {"", "secret", "display"}, {DisplayVNC, "", "password"},
		{DisplayVNC, "secretive", "password"}, {DisplaySpice, strings.Repeat("secret", 11), "password"},
	} {
		err := m.SetDisplayPassword(t.Context(), "web", c.display, c.password)
		var bad *errors.ConfigError
		require.ErrorAs(t, err, &bad)
		require.True(t, bad.Has(c.field), err)
		require.NotContains(t, err.Error(), "secret")
	}
	require.Empty(t, last, "nothing was sent")

	closed, _ := managed(t, always(`{"return": {}}`), WithPolicy(Policy{Privileged: Deny}))
	require.ErrorIs(t, closed.SetDisplayPassword(t.Context(), "web", DisplayVNC, "secret"), errors.ErrQMPDenied)
}
