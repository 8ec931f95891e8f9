package guest

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestScriptRenew runs the script on the loopback interface of this host, with programs that do
// nothing but say that they were run.
func TestScriptRenew(t *testing.T) {
	const loopback = "00:00:00:00:00:00"
	for name, c := range map[string]struct {
		programs map[string]string
		mac      string
		ran      string
		fails    bool
	}{
		"nobody there":         {mac: loopback},
		"another card":         {mac: "02:00:00:00:00:99", programs: map[string]string{"nmcli": "exit 0"}},
		"NetworkManager":       {mac: loopback, programs: map[string]string{"nmcli": "exit 0", "dhcpcd": "exit 0"}, ran: "nmcli device connect lo\n"},
		"ifupdown":             {mac: loopback, programs: map[string]string{"ifdown": "exit 0", "ifup": "exit 0"}, ran: "ifdown --force lo\nifup lo\n"},
		"the second one":       {mac: loopback, programs: map[string]string{"nmcli": "exit 1", "dhcpcd": "exit 0"}, ran: "nmcli device connect lo\ndhcpcd -n lo\n"},
		"one that fails alone": {mac: loopback, programs: map[string]string{"dhcpcd": "exit 1"}, ran: "dhcpcd -n lo\n", fails: true},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			log := filepath.Join(dir, "log")
			for program, then := range c.programs {
				text := "#!/bin/sh\necho " + program + " \"$@\" >>" + log + "\n" + then + "\n"
				require.NoError(t, os.WriteFile(filepath.Join(dir, program), []byte(text), 0o700))
			}
			for _, program := range []string{"cat", "grep"} {
				path, err := exec.LookPath(program)
				require.NoError(t, err)
				require.NoError(t, os.Symlink(path, filepath.Join(dir, program)))
			}
			cmd := exec.CommandContext(t.Context(), "/bin/sh", "-c", scriptRenew, "sh", c.mac)
			cmd.Env = []string{"PATH=" + dir}
			out, err := cmd.CombinedOutput()
			if c.fails {
				require.Error(t, err)
				require.Contains(t, string(out), "no new lease for lo")
			} else {
				require.NoError(t, err, "%s", out)
			}
			ran, _ := os.ReadFile(log) // missing: nobody was run
			require.Equal(t, c.ran, string(ran))
		})
	}
}

// TestScriptPlaceAndRunOnce packs a script in place of the program, and leaves nothing.
func TestScriptPlaceAndRunOnce(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "sh", "-c", scriptPlace).Output()
	require.NoError(t, err)
	place := string(out[:len(out)-1])
	t.Cleanup(func() { _ = os.RemoveAll(place) })
	require.Regexp(t, `/maqet\.[^/]{6}$`, place)
	packed := exec.CommandContext(t.Context(), "sh", "-c", `printf '#!/bin/sh\necho "$1 $(cat)" >&2\nexit 3\n' | gzip >"$1/packed"`, "sh", place)
	require.NoError(t, packed.Run())

	cmd := exec.CommandContext(t.Context(), "sh", "-c", scriptRunOnce, "sh", place)
	in, err := os.CreateTemp(t.TempDir(), "in")
	require.NoError(t, err)
	defer in.Close()
	_, err = in.WriteAt([]byte("input"), 0)
	require.NoError(t, err)
	cmd.Stdin = in
	out, err = cmd.CombinedOutput()
	var exit *exec.ExitError
	require.ErrorAs(t, err, &exit)
	require.Equal(t, 3, exit.ExitCode())
	require.Equal(t, "individualize input\n", string(out))
	require.NoDirExists(t, place)
}
