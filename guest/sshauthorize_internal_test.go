package guest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/internal/testhost"
)

// TestScriptAuthorize runs the script on this host, in a folder that stands for a user's home.
func TestScriptAuthorize(t *testing.T) {
	owner := fmt.Sprintf("%d:%d", os.Getuid(), os.Getgid())
	for name, c := range map[string]struct{ before, after string }{
		"none":     {"", "ssh-ed25519 new\n"},
		"lines":    {"ssh-rsa old\n", "ssh-rsa old\nssh-ed25519 new\n"},
		"open end": {"ssh-rsa old", "ssh-rsa old\nssh-ed25519 new\n"},
	} {
		t.Run(name, func(t *testing.T) {
			home := filepath.Join(t.TempDir(), "-home $(x)")
			require.NoError(t, os.Mkdir(home, 0o700))
			file := filepath.Join(home, ".ssh", "authorized_keys")
			if c.before != "" {
				require.NoError(t, os.Mkdir(filepath.Dir(file), 0o700))
				require.NoError(t, os.WriteFile(file, []byte(c.before), 0o600))
			}
			out, err := exec.Command("sh", "-c", scriptAuthorize, "sh", home, "ssh-ed25519 new", owner).CombinedOutput()
			require.NoError(t, err, "%s", out)
			got, err := os.ReadFile(file)
			require.NoError(t, err)
			require.Equal(t, c.after, string(got))
			info, err := os.Stat(file)
			require.NoError(t, err)
			require.Equal(t, os.FileMode(0o600), info.Mode())
		})
	}
}

// TestScriptAuthorizeLink: a user must not become the owner of what his own link points to.
func TestScriptAuthorizeLink(t *testing.T) {
	if os.Getuid() != 0 {
		testhost.Lacks(t, "only root can give files away")
	}
	dir := t.TempDir()
	home, target := filepath.Join(dir, "home"), filepath.Join(dir, "roots")
	require.NoError(t, os.MkdirAll(filepath.Join(home, ".ssh"), 0o700))
	require.NoError(t, os.WriteFile(target, nil, 0o600))
	require.NoError(t, os.Symlink(target, filepath.Join(home, ".ssh", "authorized_keys")))
	out, err := exec.Command("sh", "-c", scriptAuthorize, "sh", home, "ssh-ed25519 new", "12345:12345").CombinedOutput()
	require.NoError(t, err, "%s", out)
	out, err = exec.Command("stat", "-c", "%u", target).Output()
	require.NoError(t, err)
	require.Equal(t, "0\n", string(out))
}
