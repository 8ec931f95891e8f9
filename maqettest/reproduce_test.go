package maqettest

import (
	"bufio"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestStandalone(t *testing.T) {
	argv := strings.Fields("qemu -S -m 1 -chardev socket,id=qmp0,fd=3,server=on -mon chardev=qmp0,mode=control " +
		"-chardev socket,id=console,fd=4,logfile=x -serial chardev:console -chardev socket,id=agent,fd=5 " +
		"-chardev socket,id=vnc,path=/x -display none")
	require.Equal(t, strings.Fields("qemu -m 1 -chardev stdio,id=console -serial chardev:console -chardev null,id=agent "+
		"-chardev socket,id=vnc,path=/x -display none"), standalone(argv))
}

// requireBoots fails unless a script of a report boots a guest, and shows its console.
func requireBoots(t *testing.T, script string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "sh", "-c", script)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	require.NoError(t, cmd.Start())
	lines := bufio.NewScanner(out)
	booted := false
	for !booted && lines.Scan() {
		booted = strings.Contains(lines.Text(), "maqet-init: ready")
	}
	require.NoError(t, cmd.Process.Kill())
	_ = cmd.Wait()
	require.True(t, booted, "%s\n%s", script, stderr.String())
}
