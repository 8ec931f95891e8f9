package guest_test

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"testing"

	goqemu "github.com/digitalocean/go-qemu/qmp"
	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/guest"
	"github.com/maqet/maqet/vm"
)

// running starts a program in the guest that does not end before the test, and returns where
// its end is told, once it has begun.
func running(t *testing.T, exec func(ctx context.Context, cmd guest.Command) (guest.Result, error)) <-chan error {
	t.Helper()
	begun := filepath.Join(t.TempDir(), "begun")
	ended := make(chan error, 1)
	go func() {
		_, err := exec(soon(t), guest.Command{Args: []string{"sh", "-c", "echo > " + begun + "; while [ -e " + begun + " ]; do sleep 0.1; done"}})
		ended <- err
	}()
	for {
		if _, err := os.Stat(begun); err == nil {
			return ended
		}
		require.NoError(t, soon(t).Err())
	}
}

func jobEvent(id, status string) goqemu.Event {
	return goqemu.Event{Event: "JOB_STATUS_CHANGE", Data: map[string]any{"id": id, "status": status}}
}

func TestRenew(t *testing.T) {
	bothWays(t, func(t *testing.T, v *fakeVM, m *guest.Manager) {
		exec := func(ctx context.Context, cmd guest.Command) (guest.Result, error) { return m.Exec(ctx, "box", cmd) }
		requireWorks := func() {
			t.Helper()
			res, err := exec(soon(t), guest.Command{Args: []string{"echo", "hello"}})
			require.NoError(t, err)
			require.Equal(t, "hello\n", string(res.Stdout))
		}
		requireEnded := func(ended <-chan error) {
			t.Helper()
			err := <-ended
			require.ErrorIs(t, err, errors.ErrAgentUnavailable)
			require.ErrorContains(t, err, "snapshot")
			requireWorks()
		}
		t.Run("by this process", func(t *testing.T) {
			ended := running(t, exec)
			require.NoError(t, m.Renew(soon(t), "box", vm.LoadJob+"1"))
			requireEnded(ended)
		})
		t.Run("by another one", func(t *testing.T) {
			for _, status := range []string{"created", "concluded"} {
				ended := running(t, exec)
				v.monitor.events <- jobEvent(vm.LoadJob+"2", status)
				requireEnded(ended)
			}
		})
		t.Run("told of what this process does", func(t *testing.T) {
			requireWorks()
			require.NoError(t, m.Renew(soon(t), "box", vm.LoadJob+"3"))
			ended := running(t, exec)
			for _, id := range []string{vm.LoadJob + "3", "maqet-other", "x"} {
				for _, status := range []string{"created", "running", "concluded", "null"} {
					v.monitor.events <- jobEvent(id, status)
				}
			}
			requireWorks()
			select {
			case err := <-ended:
				t.Fatal("it goes on", err)
			default:
			}
			require.NoError(t, m.Renew(soon(t), "box", vm.LoadJob+"4"))
			requireEnded(ended)
		})
	})
	t.Run("of nobody", func(t *testing.T) {
		require.ErrorIs(t, newFakeVM(t).manager(t).Renew(soon(t), "other", "x"), errors.ErrVMNotFound)
	})
}

// TestRenewWhileOpening: a session that is being opened is opened anew, and its caller does not
// notice.
func TestRenewWhileOpening(t *testing.T) {
	v := withInit(t, newFakeVM(t))
	works, dialed := v.channels[vm.ChannelStream0], make(chan struct{}, 1)
	v.channel(vm.ChannelStream0, func(context.Context) (net.Conn, error) {
		deaf, _ := socketpair(t)
		dialed <- struct{}{}
		return deaf, nil
	})
	m := v.manager(t)
	ended := make(chan error, 1)
	go func() { ended <- m.Ping(soon(t), "box") }()
	<-dialed
	v.channels[vm.ChannelStream0] = works
	require.NoError(t, m.Renew(soon(t), "box", vm.LoadJob+"1"))
	require.NoError(t, <-ended)
}

func TestRenewEndsSSH(t *testing.T) {
	v := newFakeVM(t)
	v.inst.Config.Agent.Disabled = true
	s := newSSHServer(t, nil)
	m := v.manager(t)
	in := sshTo(t, m, s)
	ended := running(t, in.Exec)
	require.NoError(t, m.Renew(soon(t), "box", vm.LoadJob+"1"))
	require.ErrorIs(t, <-ended, errors.ErrAgentUnavailable)
	<-in.Done()
	again := sshTo(t, m, s)
	_, err := again.Exec(soon(t), guest.Command{Args: []string{"true"}})
	require.NoError(t, err)
}

func TestIsLoadJob(t *testing.T) {
	for id, want := range map[string]bool{vm.LoadJob + "x": true, "maqet-x-save": false, "": false} {
		require.Equal(t, want, vm.IsLoadJob(id), id)
	}
}
