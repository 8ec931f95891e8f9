package maqet_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/vm"
)

// moments at which the owner of a guest is killed.
var moments = []string{"step images", "step launch", "step handshake", "step continue", "step ready", "running", "stopping"}

// killAt starts a child that owns a guest, and kills it at this moment.
func killAt(t *testing.T, dir, moment string, lifetime vm.Lifetime) {
	t.Helper()
	p := startChild(t, "run", dir, lifetime)
	if moment == "stopping" {
		p.await("running")
		m := open(t, dir)
		p.say("stop")
		_, err := m.VM.Wait(t.Context(), victim, vm.Stopping, vm.Stopped)
		require.NoError(t, err)
		p.kill()
		return
	}
	p.await(moment)
	p.kill()
}

// TestOwnerKilledEphemeral: the guest is gone within a second, and the next process
// clears away the rest.
func TestOwnerKilledEphemeral(t *testing.T) {
	for _, moment := range moments {
		t.Run(moment, func(t *testing.T) {
			dir := shortDir(t)
			killAt(t, dir, moment, vm.Ephemeral)
			killed := time.Now()
			require.Eventually(t, func() bool { return len(processesOf(t, dir)) == 0 }, time.Second, 2*time.Millisecond)
			t.Logf("QEMU was gone %v after its owner", time.Since(killed))

			m := open(t, dir)
			// A process that watched the guest may be recording its end just now, and is
			// left to it.
			require.Eventually(t, func() bool {
				report, err := m.Cleanup.Sweep(t.Context())
				require.NoError(t, err)
				t.Logf("swept: %+v", report.Rows)
				list, err := m.VM.List(t.Context(), vm.Filter{})
				require.NoError(t, err)
				return len(list) == 0
			}, 5*time.Second, 50*time.Millisecond)
			requireNothingLeft(t, dir)
			again, err := m.Cleanup.Sweep(t.Context())
			require.NoError(t, err)
			require.Empty(t, again.Rows)
		})
	}
}

// TestOwnerKilledPersistent: the next process adopts the guest and works in it; one
// that was not launched yet, or was on its way down, starts again.
func TestOwnerKilledPersistent(t *testing.T) {
	for _, moment := range moments {
		t.Run(moment, func(t *testing.T) {
			dir := shortDir(t)
			killAt(t, dir, moment, vm.Persistent)

			m := open(t, dir)
			_, err := m.VM.Reconcile(t.Context())
			require.NoError(t, err)
			g, err := m.Machine(t.Context(), victim)
			require.NoError(t, err)
			inst, err := g.Instance(t.Context())
			require.NoError(t, err)
			t.Logf("found %s (%s)", inst.State, inst.Reason)
			if !inst.State.Live() { // it was not launched yet, or went down as it was told
				require.Empty(t, processesOf(t, dir))
				require.NoError(t, g.Start(t.Context()))
			}
			if moment != "stopping" || !inst.State.Live() { // else it may still be on its way down
				res, err := g.Exec(t.Context(), "uname", "-s")
				require.NoError(t, err)
				require.Equal(t, "Linux\n", string(res.Stdout))
			}
			_, err = g.Stop(t.Context())
			require.NoError(t, err)
			require.NoError(t, g.Remove(t.Context(), vm.DeleteImages()))
			requireNothingLeft(t, dir)
		})
	}
}

// TestTwoProcessesStart: one wins, one is told that the VM runs already.
func TestTwoProcessesStart(t *testing.T) {
	for range 5 {
		dir := shortDir(t)
		m := open(t, dir)
		_, err := m.VM.Add(t.Context(), vm.Config{Name: victim})
		require.NoError(t, err)
		a, b := startChild(t, "race", dir, ""), startChild(t, "race", dir, "")
		a.await("ready")
		b.await("ready")
		a.say("go")
		b.say("go")
		outcome := map[string]int{}
		for _, p := range []*process{a, b} {
			p.lines.Scan()
			outcome[p.lines.Text()]++
		}
		require.Equal(t, map[string]int{"won": 1, "lost": 1}, outcome)
		require.Len(t, processesOf(t, dir), 1)
		a.end()
		b.end()
		require.Empty(t, processesOf(t, dir))
	}
}

// TestPersistentGuestOutlivesClose: Close leaves it running, and another Maqet of the
// same process or of the next goes on with it.
func TestPersistentGuestOutlivesClose(t *testing.T) {
	dir := shortDir(t)
	m := open(t, dir)
	g, err := m.Run(t.Context(), vm.Config{Name: victim, Lifetime: vm.Persistent})
	require.NoError(t, err)
	_, err = g.Exec(t.Context(), "touch", "/tmp/mark")
	require.NoError(t, err)
	require.NoError(t, m.Close())
	require.Len(t, processesOf(t, dir), 1)

	m = open(t, dir)
	g, err = m.Machine(t.Context(), victim)
	require.NoError(t, err)
	_, err = g.Exec(t.Context(), "test", "-e", "/tmp/mark")
	require.NoError(t, err)
	rep, err := g.Stop(t.Context())
	require.NoError(t, err)
	require.True(t, rep.Graceful, "%+v", rep)
	require.NoError(t, g.Remove(t.Context()))
	requireNothingLeft(t, dir)
}
