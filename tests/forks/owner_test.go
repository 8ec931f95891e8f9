package forks_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/vm"
)

// TestOwnerKilled: forks that go with their process end with it, persistent ones go on. So does a
// persistent template, while an ephemeral one is nobody's from that moment on; its disks stay
// for as long as a fork stands on them.
func TestOwnerKilled(t *testing.T) {
	for _, lifetime := range []vm.Lifetime{vm.Ephemeral, vm.Persistent} {
		t.Run(string(lifetime), func(t *testing.T) {
			t.Parallel()
			dir := shortDir(t)
			owner := task{Do: "own", Dir: dir, Lifetime: lifetime}.start(t)
			require.True(t, owner.await())
			require.Len(t, processesOf(t, dir), 2, "the captured guest has ended")
			p := open(t, dir)
			stays := p.get(staying)
			owner.kill()
			require.Eventually(t, func() bool { return len(processesOf(t, dir)) == 1 }, patience, 2*time.Millisecond)

			p.requireAnswers(staying)
			want := []string{"removed " + passing, "removed " + subject}
			if lifetime == vm.Ephemeral {
				_, err := p.m.Fork(t.Context(), template)
				require.ErrorIs(t, err, errors.ErrTemplateNotFound)
			}
			require.ElementsMatch(t, want, p.sweep(), "the template stays, or is in use")
			require.Equal(t, []string{staying}, p.names())
			require.Equal(t, stays.Runtime.Process, p.get(staying).Runtime.Process)
			require.Empty(t, p.sweep())
			p.requireAnswers(staying)
			p.requireImages()
			p.restart()

			if lifetime == vm.Persistent {
				f, err := p.m.Fork(t.Context(), template)
				require.NoError(t, err)
				p.requireAnswers(f.Name())
				require.NoError(t, f.Remove(t.Context(), vm.ForceRemove()))
				require.ErrorIs(t, p.m.Snapshot.DeleteTemplate(t.Context(), template), errors.ErrTemplateInUse)
			}
			p.remove(staying)
			if lifetime == vm.Persistent {
				require.Empty(t, p.sweep())
				require.NoError(t, p.m.Snapshot.DeleteTemplate(t.Context(), template))
			} else {
				require.Len(t, p.sweep(), 1)
			}
			p.requireNothing()
		})
	}
}

// requireAnswers fails unless a fork answers, and has what the template had, and what it wrote.
func (p *place) requireAnswers(ref string) {
	p.t.Helper()
	g, err := p.m.Machine(p.t.Context(), ref)
	require.NoError(p.t, err)
	res, err := g.Exec(p.t.Context(), "sh", "-c", "cat /tmp/memory; head -n1 /dev/vda")
	require.NoError(p.t, err)
	require.Equal(p.t, "captured\ncaptured\n", string(res.Stdout))
}

// restart ends the persistent fork and boots it: what it wrote is there.
func (p *place) restart() {
	p.t.Helper()
	ctx := p.t.Context()
	g, err := p.m.Machine(ctx, staying)
	require.NoError(p.t, err)
	_, err = g.Exec(ctx, "sh", "-c", "echo mine | dd of=/dev/vda seek=8 conv=fsync")
	require.NoError(p.t, err)
	_, err = g.Stop(ctx)
	require.NoError(p.t, err)
	require.Empty(p.t, p.sweep(), "its disk still stands on the template's")
	require.NoError(p.t, g.Start(ctx))
	res, err := g.Exec(ctx, "sh", "-c", "head -n1 /dev/vda; dd if=/dev/vda skip=8 count=1 2>/dev/null | head -n1; test ! -e /tmp/memory")
	require.NoError(p.t, err, "%s", res.Stderr)
	require.Equal(p.t, "captured\nmine\n", string(res.Stdout))
}
