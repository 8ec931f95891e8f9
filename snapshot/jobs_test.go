package snapshot

import (
	"context"
	"net"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/internal/testhost"
	"github.com/maqet/maqet/qmp"
	"github.com/maqet/maqet/qmp/qapi"
)

// bareQEMU starts a QEMU without a machine, and returns it with a client of its monitor.
func bareQEMU(t *testing.T) (*exec.Cmd, *qmp.Client) {
	t.Helper()
	binary, err := exec.LookPath("qemu-system-x86_64")
	testhost.Needs(t, "QEMU (make setup installs it)", err)
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	ours, theirs := os.NewFile(uintptr(fds[0]), "ours"), os.NewFile(uintptr(fds[1]), "theirs")
	conn, err := net.FileConn(ours)
	require.NoError(t, err)
	require.NoError(t, ours.Close())
	cmd := exec.Command(binary, "-M", "none", "-nodefaults", "-no-user-config", "-display", "none", "-S",
		"-chardev", "socket,id=m,fd=3", "-mon", "chardev=m,mode=control")
	cmd.ExtraFiles = []*os.File{theirs}
	require.NoError(t, cmd.Start())
	require.NoError(t, theirs.Close())
	client := qmp.NewClient()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		require.NoError(t, client.Close())
	})
	require.NoError(t, client.Connect(patient(t), conn))
	return cmd, client
}

// patient is a context that tells a hang from a slow machine.
func patient(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// nulls makes two block nodes that hold nothing.
func nulls(t *testing.T, c *qmp.Client, source qapi.BlockdevDriver, props map[string]any) {
	t.Helper()
	size := map[string]any{"size": 64 << 20}
	below := &qapi.BlockdevRef{Options: &qapi.BlockdevOptions{Driver: "null-co", Props: size}}
	from := qapi.BlockdevOptions{Driver: "null-co", NodeName: "from", Props: size}
	if source != "null-co" {
		from = qapi.BlockdevOptions{Driver: source, NodeName: "from", Props: props}
		from.Props["image"] = below.Options
	}
	require.NoError(t, qapi.BlockdevAdd(patient(t), c, from))
	require.NoError(t, qapi.BlockdevAdd(patient(t), c, qapi.BlockdevOptions{Driver: "null-co", NodeName: "to", Props: size}))
}

// copying is a job that copies one node to the other, at so many bytes a second.
func copying(c *qmp.Client, id string, speed int64) jobs {
	manual := false
	return jobs{conn: c, ids: []string{id}, step: "copy", start: func(ctx context.Context) error {
		return qapi.BlockdevBackup(ctx, c, qapi.BlockdevBackupArgs{JobID: id, Device: "from", Target: "to",
			Sync: qapi.MirrorSyncModeFull, Speed: speed, AutoDismiss: &manual})
	}}
}

// untilConcluded returns when the job that start starts has ended.
func untilConcluded(t *testing.T, c *qmp.Client, start func()) {
	t.Helper()
	sub := c.Subscribe(qapi.EventJobStatusChange)
	defer sub.Close()
	start()
	for ev := range sub.C() {
		var change qapi.JobStatusChangeEvent
		require.NoError(t, ev.Decode(&change))
		if change.Status == qapi.JobStatusConcluded {
			return
		}
	}
}

func requireNoJobs(t *testing.T, c *qmp.Client) {
	t.Helper()
	list, err := qapi.QueryJobs(patient(t), c)
	require.NoError(t, err)
	require.Empty(t, list)
}

func TestFollow(t *testing.T) {
	t.Run("to its end, with progress", func(t *testing.T) {
		_, c := bareQEMU(t)
		nulls(t, c, "null-co", nil)
		j := copying(c, "job", 128<<20) // half a second
		var told []Progress
		j.tell = func(p Progress) { told = append(told, p) }
		require.NoError(t, j.follow(patient(t)))
		require.NotEmpty(t, told)
		require.Equal(t, Progress{Step: "copy", Done: 64 << 20, Total: 64 << 20}, told[len(told)-1])
		require.Greater(t, len(told), 1)
		require.Less(t, told[0].Done, int64(64<<20))
		requireNoJobs(t, c)
	})
	t.Run("refused", func(t *testing.T) {
		_, c := bareQEMU(t)
		var refusal *errors.QMPError
		err := copying(c, "job", 0).follow(patient(t)) // there are no nodes
		require.ErrorAs(t, err, &refusal)
		require.Equal(t, "blockdev-backup", refusal.Command)
		requireNoJobs(t, c)
	})
	t.Run("that fails", func(t *testing.T) {
		_, c := bareQEMU(t)
		nulls(t, c, "blkdebug", map[string]any{"inject-error": []any{map[string]any{"event": "none", "iotype": "read", "errno": 5}}})
		var failure *errors.QMPError
		err := copying(c, "job", 0).follow(patient(t))
		require.ErrorAs(t, err, &failure)
		require.Equal(t, "backup", failure.Command)
		require.ErrorIs(t, err, errors.ErrQMPCommand)
		requireNoJobs(t, c)
	})
	t.Run("that somebody else dismisses", func(t *testing.T) {
		_, c := bareQEMU(t)
		nulls(t, c, "null-co", nil)
		j := copying(c, "job", 0)
		start := j.start
		j.start = func(ctx context.Context) error {
			untilConcluded(t, c, func() { require.NoError(t, start(ctx)) })
			return qapi.JobDismiss(ctx, c, "job")
		}
		require.ErrorIs(t, j.follow(patient(t)), errJobGone)
	})
	t.Run("that becomes ready", func(t *testing.T) {
		_, c := bareQEMU(t)
		nulls(t, c, "null-co", nil)
		manual, completed := false, 0
		require.NoError(t, jobs{conn: c, ids: []string{"job"}, start: func(ctx context.Context) error {
			return qapi.BlockdevMirror(ctx, c, qapi.BlockdevMirrorArgs{JobID: "job", Device: "from", Target: "to",
				Sync: qapi.MirrorSyncModeFull, AutoDismiss: &manual})
		}, ready: func(ctx context.Context, id string) error {
			completed++
			return qapi.JobComplete(ctx, c, id)
		}}.follow(patient(t)))
		require.Equal(t, 1, completed)
		requireNoJobs(t, c)
	})
	t.Run("that began before", func(t *testing.T) {
		_, c := bareQEMU(t)
		nulls(t, c, "null-co", nil)
		j := copying(c, "job", 128<<20)
		require.NoError(t, j.start(patient(t)))
		j.start = nil
		require.NoError(t, j.follow(patient(t)))
		requireNoJobs(t, c)
	})
}

func TestFollowIsGivenUp(t *testing.T) {
	t.Run("while the job runs", func(t *testing.T) {
		_, c := bareQEMU(t)
		nulls(t, c, "null-co", nil)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		j := copying(c, "job", 1<<20) // a minute
		j.tell = func(p Progress) { cancel() }
		require.ErrorIs(t, j.follow(ctx), context.Canceled)
		requireNoJobs(t, c)
	})
	t.Run("before it begins", func(t *testing.T) {
		_, c := bareQEMU(t)
		nulls(t, c, "null-co", nil)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		require.ErrorIs(t, copying(c, "job", 1<<20).follow(ctx), context.Canceled)
		requireNoJobs(t, c)
	})
	t.Run("when the command is out, and nobody knows whether it was heard", func(t *testing.T) {
		_, c := bareQEMU(t)
		nulls(t, c, "null-co", nil)
		ctx, cancel := context.WithCancel(t.Context())
		j := copying(c, "job", 1<<20)
		start := j.start
		j.start = func(context.Context) error {
			cancel()
			require.NoError(t, start(t.Context()))
			return ctx.Err()
		}
		require.ErrorIs(t, j.follow(ctx), context.Canceled)
		requireNoJobs(t, c)
	})
	t.Run("too late", func(t *testing.T) {
		_, c := bareQEMU(t)
		nulls(t, c, "null-co", nil)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		j := copying(c, "job", 0)
		start := j.start
		j.start = func(ctx context.Context) error {
			untilConcluded(t, c, func() { require.NoError(t, start(ctx)) })
			cancel()
			return nil
		}
		require.NoError(t, j.follow(ctx), "it went well")
		requireNoJobs(t, c)
	})
	t.Run("and the job left alone", func(t *testing.T) {
		_, c := bareQEMU(t)
		nulls(t, c, "null-co", nil)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		j := copying(c, "job", 1<<20)
		j.leave, j.tell = true, func(Progress) { cancel() }
		require.ErrorIs(t, j.follow(ctx), context.Canceled)
		list, err := qapi.QueryJobs(patient(t), c)
		require.NoError(t, err)
		require.Len(t, list, 1)
	})
	t.Run("since QEMU is gone", func(t *testing.T) {
		qemu, c := bareQEMU(t)
		nulls(t, c, "null-co", nil)
		j := copying(c, "job", 1<<20)
		j.tell = func(Progress) { _ = qemu.Process.Kill() }
		require.ErrorIs(t, j.follow(patient(t)), errors.ErrQMPConnection)
	})
}

func TestFollowCatchesUpAfterAGap(t *testing.T) {
	_, c := bareQEMU(t)
	nulls(t, c, "null-co", nil)
	j := copying(c, "job", 0)
	require.NoError(t, j.start(patient(t)))
	events := make(chan qmp.Event) // on which nothing comes but what is said here
	f := &following{jobs: j, events: events, open: map[string]bool{"job": true}, readied: map[string]bool{}}
	ended := make(chan error)
	go func() { ended <- f.wait(patient(t)) }()
	for f := 0; ; f++ {
		select {
		case events <- qmp.Event{Name: []string{qmp.EventGap, "X"}[f%2], Dropped: f % 2}:
		case err := <-ended:
			require.NoError(t, err)
			return
		}
	}
}
