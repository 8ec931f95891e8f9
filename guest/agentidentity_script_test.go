package guest

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestRenewScript: the first one that is in charge of the card is enough.
func TestRenewScript(t *testing.T) {
	cat, err := exec.LookPath("cat")
	require.NoError(t, err)
	for name, c := range map[string]struct {
		there map[string]string // exit codes by name
		want  string            // complaint
	}{
		"nobody":            {},
		"ifupdown":          {there: map[string]string{"ifdown": "0", "ifup": "0"}},
		"none is in charge": {there: map[string]string{"nmcli": "1", "ifdown": "0", "ifup": "1"}, want: "ifup failed"},
		"NetworkManager":    {there: map[string]string{"nmcli": "0", "ifup": "1"}},
		"dhcpcd after ifup": {there: map[string]string{"ifdown": "0", "ifup": "1", "dhcpcd": "0"}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			require.NoError(t, os.Symlink(cat, filepath.Join(dir, "cat")))
			for tool, code := range c.there {
				require.NoError(t, os.WriteFile(filepath.Join(dir, tool), []byte("#!/bin/sh\nexit "+code+"\n"), 0o700))
			}
			cmd := exec.Command("/bin/sh", "-c", scriptRenew, "sh", "00:00:00:00:00:00") // lo
			cmd.Env = []string{"PATH=" + dir}
			out, err := cmd.CombinedOutput()
			if c.want == "" {
				require.NoError(t, err, "%s", out)
				return
			}
			require.Error(t, err)
			require.Contains(t, string(out), c.want)
		})
	}
}
