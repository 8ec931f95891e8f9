package debian_test

import (
	"bytes"
	"context"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet"
	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/guest"
)

// workBySSH logs in with a key that the agent brings in, and with one of the seed's.
func workBySSH(t *testing.T, g *maqet.Machine, seeded guest.SSHKey) {
	ctx := t.Context()
	root, err := g.SSH(ctx)
	require.NoError(t, err)
	defer root.Close()
	_, known := root.HostKey()
	require.True(t, known, "the agent has told which host key there is")
	require.Equal(t, "0", output(t, root, "id", "-u"))

	dev, err := g.SSH(ctx, guest.WithUser("dev"), guest.WithKey(seeded))
	require.NoError(t, err)
	defer dev.Close()
	require.Equal(t, "dev", output(t, dev, "id", "-un"))
	require.Equal(t, "0", output(t, dev, "sudo", "-n", "id", "-u"))
	_, err = dev.ReadFile(ctx, "/root/ran")
	require.ErrorIs(t, err, errors.ErrGuest)
	require.NotErrorIs(t, err, fs.ErrNotExist, "dev can't know that")
	require.ErrorIs(t, dev.CopyFrom(ctx, "/root/ran", t.TempDir()), errors.ErrGuest)
	_, err = dev.ReadFile(ctx, "/none/of/that")
	require.ErrorIs(t, err, fs.ErrNotExist)

	nasty := []string{"", "'", `"$(id)"`, "a\nb", `\`, "*", "-n", "über"}
	res, err := dev.Exec(ctx, guest.Command{Args: append([]string{"printf", "<%s>"}, nasty...), Dir: "/usr", Env: []string{"A=b c"}})
	require.NoError(t, err)
	require.Equal(t, "<"+strings.Join(nasty, "><")+">", string(res.Stdout))
	res, err = dev.Exec(ctx, guest.Command{Args: []string{"sh", "-c", "cat; kill -TERM $$"}, Stdin: strings.NewReader("in")})
	require.ErrorIs(t, err, errors.ErrCommandFailed)
	require.Equal(t, "in", string(res.Stdout))
	require.Equal(t, 15, res.Signal)
	_, err = dev.Exec(ctx, guest.Command{Args: []string{"no-such-program"}})
	require.ErrorIs(t, err, fs.ErrNotExist)

	require.NoError(t, root.WriteFile(ctx, "/etc/by-ssh", []byte("written"), 0o600))
	require.NoError(t, root.Wait(ctx, guest.FileExists("/etc/by-ssh"), guest.CommandSucceeds("grep", "-qx", "written", "/etc/by-ssh"), guest.PortOpen(22)))
	copyTree(t, root.CopyTo, root.CopyFrom)
	cancelKills(t, root)
	tunnel(t, root)
}

func output(t *testing.T, in *guest.SSH, args ...string) string {
	t.Helper()
	res, err := in.Exec(t.Context(), guest.Command{Args: args})
	require.NoError(t, err)
	return strings.TrimSpace(string(res.Stdout))
}

// cancelKills: OpenSSH passes the signal on.
func cancelKills(t *testing.T, in *guest.SSH) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var pid string
	stdout := writerFunc(func(p []byte) (int, error) {
		pid = strings.TrimSpace(string(p))
		cancel()
		return len(p), nil
	})
	_, err := in.Exec(ctx, guest.Command{Args: []string{"sh", "-c", "echo $$; exec sleep 7654"}, Stdout: stdout})
	require.ErrorIs(t, err, context.Canceled)
	require.NoError(t, in.Wait(t.Context(), guest.CommandSucceeds("sh", "-c", `! [ -e "/proc/$1" ]`, "sh", pid)))
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// tunnel talks to the guest's own ssh server from within.
func tunnel(t *testing.T, in *guest.SSH) {
	conn, err := in.Dial(t.Context(), "tcp", "localhost:22")
	require.NoError(t, err)
	defer conn.Close()
	word := make([]byte, 4)
	_, err = io.ReadFull(conn, word)
	require.NoError(t, err)
	require.Equal(t, "SSH-", string(word))
}

// copyTree copies a tree to the guest and back.
func copyTree(t *testing.T, to, from func(ctx context.Context, src, dst string) error) {
	dir := t.TempDir()
	data := bytes.Repeat([]byte("tree"), 300_000)
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "tree", "sub"), 0o750))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "tree", "sub", "-it's"), data, 0o751))
	require.NoError(t, os.Symlink("sub", filepath.Join(dir, "tree", "link")))
	require.NoError(t, to(t.Context(), filepath.Join(dir, "tree"), "/root"))
	require.NoError(t, from(t.Context(), "/root/tree", filepath.Join(dir, "back")))
	got, err := os.ReadFile(filepath.Join(dir, "back", "link", "-it's"))
	require.NoError(t, err)
	require.True(t, bytes.Equal(data, got))
	info, err := os.Stat(filepath.Join(dir, "back", "sub", "-it's"))
	require.NoError(t, err)
	require.Equal(t, fs.FileMode(0o751), info.Mode())
	require.ErrorIs(t, from(t.Context(), "/root/none", dir), fs.ErrNotExist)
}
