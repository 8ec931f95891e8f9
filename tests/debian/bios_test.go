package debian_test

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet"
	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/guest"
	"github.com/maqet/maqet/vm"
)

// TestBIOS boots from the disk by SeaBIOS, with a seed, works in the guest by its agent
// and by ssh, and pushes its power button.
func TestBIOS(t *testing.T) {
	dir := t.TempDir()
	hash := filepath.Join(dir, "hash")
	require.NoError(t, os.WriteFile(hash, []byte("$6$maqet$secret\n"), 0o600))
	key, err := guest.NewSSHKey()
	require.NoError(t, err)
	cfg := config(t)
	cfg.Name = "debian_bios"
	cfg.Networks[0].Forwards = []vm.Forward{{Guest: 22}}
	cfg.CloudInit = &vm.CloudInit{
		Hostname: "from-the-seed",
		Users: []vm.CloudUser{{Name: "dev", SSHKeys: []string{key.AuthorizedKey()}, Groups: []string{"adm"},
			Sudo: true, PasswordHashFile: hash}},
		Files: []vm.CloudFile{
			{Path: "/etc/seed/text", Text: "on: 0644\n\"quoted\" über\n", Mode: "0640"},
			{Path: "/etc/seed/binary", Source: hash},
			{Path: "/home/dev/owned", Text: "x", Owner: "dev:dev", Mode: "0600"},
		},
		Run: [][]string{{"sh", "-c", `printf '<%s>' "$@" >/root/ran`, "sh", "on", "12:30", "0644", "it's"}},
	}
	m, g := guestOf(t, cfg)

	t.Run("cloud-init", func(t *testing.T) { checkSeed(t, g) })
	t.Run("agent", func(t *testing.T) { workByAgent(t, m, g) })
	t.Run("files", func(t *testing.T) { copyTree(t, g.CopyTo, g.CopyFrom) })
	t.Run("conditions", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		require.NoError(t, g.WaitFor(ctx, guest.PortOpen(22), guest.FileExists("/etc/seed/text"),
			guest.CommandSucceeds("systemctl", "is-active", "ssh"), guest.ConsoleText("login:"), guest.SSHReady()))
	})
	t.Run("frozen", func(t *testing.T) { freeze(t, m, g) })
	t.Run("ssh", func(t *testing.T) { workBySSH(t, g, key) })
	t.Run("identity", func(t *testing.T) { individualize(t, m, g) })
	t.Run("power button", func(t *testing.T) {
		_, err := m.QMP.Execute(t.Context(), g.ID(), "system_powerdown", nil)
		require.NoError(t, err)
		inst, err := g.Wait(t.Context())
		require.NoError(t, err)
		require.Equal(t, vm.Stopped, inst.State)
		require.Equal(t, vm.ReasonGuestShutdown, inst.Reason)
	})
}

func checkSeed(t *testing.T, g *maqet.Machine) {
	require.Contains(t, run(t, g, "cloud-init", "status", "--wait"), "status: done")
	require.Equal(t, "from-the-seed", run(t, g, "hostname"))
	require.Contains(t, run(t, g, "id", "dev"), "(adm)")
	require.Contains(t, run(t, g, "getent", "shadow", "dev"), "dev:$6$maqet$secret:")
	require.Contains(t, run(t, g, "getent", "passwd", "dev"), ":/bin/bash")
	require.Equal(t, "on: 0644\n\"quoted\" über", run(t, g, "cat", "/etc/seed/text"))
	require.Equal(t, "640 root", run(t, g, "stat", "-c", "%a %U", "/etc/seed/text"))
	require.Equal(t, "$6$maqet$secret", run(t, g, "cat", "/etc/seed/binary"))
	require.Equal(t, "600 dev", run(t, g, "stat", "-c", "%a %U", "/home/dev/owned"))
	require.Equal(t, "<on><12:30><0644><it's>", run(t, g, "cat", "/root/ran"))
	require.Equal(t, g.ID(), run(t, g, "cat", "/var/lib/cloud/data/instance-id"))
}

// workByAgent does by Debian's qemu-ga what other tests do by maqet's own init.
func workByAgent(t *testing.T, m *maqet.Maqet, g *maqet.Machine) {
	ctx := t.Context()
	info, err := m.Guest.Info(ctx, g.ID())
	require.NoError(t, err)
	require.Equal(t, "debian", info.OS)
	require.Equal(t, "12", info.OSVersion)
	require.Equal(t, "from-the-seed", info.Hostname)
	require.Contains(t, info.Commands, "guest-exec")
	require.Contains(t, fmt.Sprint(info.Interfaces), "10.0.2.15/24")

	var out bytes.Buffer
	res, err := g.Command(ctx, guest.Command{Args: []string{"sh", "-c", `cat; echo "$GREETING from $PWD"; echo bad >&2; exit 3`},
		Env: []string{"GREETING=hello"}, Dir: "/tmp", Stdin: strings.NewReader("typed\n"), Stdout: &out})
	require.ErrorIs(t, err, errors.ErrCommandFailed)
	require.Equal(t, 3, res.ExitCode)
	require.Equal(t, "typed\nhello from /tmp\n", out.String())
	require.Equal(t, "bad\n", string(res.Stderr))
	res, err = g.Exec(ctx, "sh", "-c", "kill -TERM $$")
	require.ErrorIs(t, err, errors.ErrCommandFailed)
	require.Equal(t, 15, res.Signal)
	_, err = g.Exec(ctx, "no-such-program")
	require.ErrorIs(t, err, fs.ErrNotExist)
	res, err = g.Exec(ctx, "head", "-c", "17000000", "/dev/zero")
	require.NoError(t, err)
	require.True(t, res.Truncated, "the agent keeps 16 MiB")
	require.Len(t, res.Stdout, 16<<20)

	data := bytes.Repeat([]byte("maqet\x00\xff"), 100_000)
	require.NoError(t, g.WriteFile(ctx, "/root/data", data, 0o640))
	back, err := g.ReadFile(ctx, "/root/data")
	require.NoError(t, err)
	require.True(t, bytes.Equal(data, back))
	require.Equal(t, "640", run(t, g, "stat", "-c", "%a", "/root/data"))
	_, err = g.ReadFile(ctx, "/root/none")
	require.ErrorIs(t, err, fs.ErrNotExist)
	version, err := g.ReadFile(ctx, "/proc/version")
	require.NoError(t, err)
	require.Contains(t, string(version), "Linux version 6.1")

	when := time.Now().Add(-48 * time.Hour)
	require.NoError(t, m.Guest.SetTime(ctx, g.ID(), when))
	require.Equal(t, when.UTC().Format(time.DateOnly), run(t, g, "date", "-u", "+%F"))
	require.NoError(t, m.Guest.SetTime(ctx, g.ID(), time.Now()))
	require.NoError(t, m.Guest.Reseed(ctx, g.ID()))
}

// freeze: while its file systems are frozen an agent runs nothing, and the error says why.
func freeze(t *testing.T, m *maqet.Maqet, g *maqet.Machine) {
	_, err := m.Guest.Agent(t.Context(), g.ID(), "guest-fsfreeze-freeze", nil)
	require.NoError(t, err)
	_, err = g.Exec(t.Context(), "true")
	require.ErrorIs(t, err, errors.ErrAgentUnavailable)
	require.ErrorContains(t, err, "frozen")
	_, err = m.Guest.Agent(t.Context(), g.ID(), "guest-fsfreeze-thaw", nil)
	require.NoError(t, err)
	run(t, g, "true")
}
