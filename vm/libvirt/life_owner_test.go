//go:build linux

package libvirt_test

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet"
	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/vm"
	"github.com/maqet/maqet/vm/libvirt"
)

// The environment of this test's own child: where its libvirtd and its folder are.
const (
	ownerURI = "MAQET_LIBVIRT_OWNER_URI"
	ownerDir = "MAQET_LIBVIRT_OWNER_DIR"
)

// An ephemeral guest ends with the process that started it, however that ends; a persistent one
// goes on, and the next process finds it.
func TestOwnerIsKilled(t *testing.T) {
	if os.Getenv(ownerURI) != "" {
		ownUntilKilled(t)
	}
	d := libvirt.SharedDaemon().Get(t)
	dir := t.TempDir()
	child := exec.Command(os.Args[0], "-test.run=^TestOwnerIsKilled$")
	child.Env = append(os.Environ(), ownerURI+"="+d.URI(), ownerDir+"="+dir)
	in, err := child.StdinPipe() // it lives as long as that
	require.NoError(t, err)
	defer func() { _ = in.Close() }()
	out, err := child.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, child.Start())
	defer func() { _ = child.Wait() }()
	defer func() { _ = child.Process.Kill() }()
	lines, said := bufio.NewScanner(out), []string(nil)
	for lines.Scan() && lines.Text() != "ready" {
		said = append(said, lines.Text())
	}
	require.NoError(t, lines.Err())
	require.Contains(t, said, "started passing", strings.Join(said, "\n"))
	require.Contains(t, said, "started lasting", strings.Join(said, "\n"))

	m := lifeOpen(t, d, dir)
	passing, err := m.VM.Live(lifeLimit(t), "passing")
	require.NoError(t, err)
	require.NoError(t, child.Process.Kill())
	<-passing.Done()
	require.NotContains(t, virsh(t, d, "list", "--all", "--name"), "passing")
	_, err = m.VM.Reconcile(lifeLimit(t))
	require.NoError(t, err)
	_, err = m.VM.Get(lifeLimit(t), "passing")
	require.ErrorIs(t, err, errors.ErrVMNotFound)

	status, err := m.QMP.Status(lifeLimit(t), "lasting")
	require.NoError(t, err)
	require.False(t, status.Running)
	report, err := m.VM.Stop(lifeLimit(t), "lasting", vm.Force())
	require.NoError(t, err)
	require.Equal(t, "destroy", report.Step)
	require.NoError(t, m.VM.Remove(lifeLimit(t), "lasting"))
}

// ownUntilKilled is the child: it starts a guest of each lifetime.
func ownUntilKilled(t *testing.T) {
	m, err := maqet.New(maqet.WithDir(os.Getenv(ownerDir)), maqet.WithLibvirt(os.Getenv(ownerURI)))
	require.NoError(t, err)
	for name, lifetime := range map[string]vm.Lifetime{"passing": vm.Ephemeral, "lasting": vm.Persistent} {
		lifeStart(t, m, lifeAdd(t, m, vm.Config{Name: name, Lifetime: lifetime}))
		fmt.Println("started", name)
	}
	fmt.Println("ready")
	_, _ = io.Copy(io.Discard, os.Stdin)
	t.FailNow()
}

func TestCloseEndsEphemeralGuests(t *testing.T) {
	d := libvirt.SharedDaemon().Get(t)
	dir := t.TempDir()
	first := lifeOpen(t, d, dir)
	passing, lasting := lifeAdd(t, first, vm.Config{}), lifeAdd(t, first, vm.Config{Lifetime: vm.Persistent})
	lifeStart(t, first, passing)
	lifeStart(t, first, lasting)
	require.NoError(t, first.Close())
	left := virsh(t, d, "list", "--all", "--name")
	require.NotContains(t, left, passing)
	require.Contains(t, left, lasting)

	second := lifeOpen(t, d, dir)
	require.NoError(t, second.QMP.Resume(lifeLimit(t), lasting))
	require.Equal(t, vm.ReasonResumed, lifeAwait(t, second, lasting, vm.Running))
	require.NoError(t, second.VM.Remove(lifeLimit(t), lasting, vm.ForceRemove()))
	require.NotContains(t, virsh(t, d, "list", "--all", "--name"), lasting)
}
