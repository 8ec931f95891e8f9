package maqettest

import (
	"bufio"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/vm"
)

func TestStandalone(t *testing.T) {
	argv := strings.Fields("qemu -S -m 1 -chardev socket,id=qmp0,fd=3,server=on -mon chardev=qmp0,mode=control " +
		"-chardev socket,id=console,fd=4,logfile=x -serial chardev:console -chardev socket,id=agent,fd=5 " +
		"-chardev socket,id=vnc,path=/x -display none")
	require.Equal(t, strings.Fields("qemu -m 1 -chardev stdio,id=console -serial chardev:console -chardev null,id=agent "+
		"-chardev socket,id=vnc,path=/x -display none"), standalone(argv))
}

// TestReproduction boots what the report of a failure says.
func TestReproduction(t *testing.T) {
	needQEMU(t)
	r := record(t, func(r *recorder) {
		Boot(r, Config(vm.Config{Name: "odd", Template: true, Networks: []vm.Network{{}}}))
		r.Fatalf("it fails")
	})
	script := artifact(t, r, "odd", "reproduce.sh")
	cmd := exec.CommandContext(t.Context(), "sh", "-c", script)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	require.NoError(t, cmd.Start())
	lines := bufio.NewScanner(out)
	for lines.Scan() && !strings.Contains(lines.Text(), "maqet-init: ready") {
		t.Log(lines.Text())
	}
	booted := strings.Contains(lines.Text(), "ready")
	require.NoError(t, cmd.Process.Kill())
	_ = cmd.Wait()
	require.True(t, booted, "%s\n%s", script, stderr.String())
}
