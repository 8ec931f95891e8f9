package snapshots_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet"
	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/guest"
	"github.com/maqet/maqet/snapshot"
	"github.com/maqet/maqet/vm"
)

// TestGuest has the process that uses maqet die in the middle of operations on a guest that
// runs: it goes on, and what it has written, and has in memory, is of one moment. All
// operations share one guest.
func TestGuest(t *testing.T) {
	dir := shortDir(t)
	p := openVictim(t, dir)
	cfg := vm.Config{Name: victim, Lifetime: vm.Persistent, Memory: 128 * vm.MiB, Boot: vm.Boot{Kernel: "auto"},
		Disks: []vm.Disk{{Name: "one", Size: guestDisk}, {Name: "two", Size: guestDisk}}}
	_, err := p.m.Run(t.Context(), cfg)
	require.NoError(t, err)
	defer func() {
		p.stop()
		require.NoError(t, p.m.VM.Remove(t.Context(), victim, vm.DeleteImages()))
		p.close()
	}()
	for _, name := range []string{"create memory", "load memory", "delete memory", "create external", "load external", "commit external"} {
		t.Run(name, func(t *testing.T) {
			op := operations[name]
			base := fault{Op: name, Dir: dir, Untraced: true}
			rep := p.on(t).interrupt(op, base)
			require.Empty(t, rep.Err)
			seen := map[string]int{}
			for i, step := range rep.Steps {
				seen[step]++
				if !long() && i%8 != len(name)%4 {
					continue
				}
				f := base
				f.Kind, f.Step, f.Nth = killSelf, step, seen[step]
				t.Run(f.String(), func(t *testing.T) { p.on(t).interrupt(op, f) })
			}
		})
	}
}

// guestDisk is the size of the disks of the guest that runs.
const guestDisk = 4 << 20

// interrupt has a fault happen to an operation, checks what the guest has afterwards, and
// deletes all snapshots.
func (p *patient) interrupt(op operation, f fault) report {
	p.t.Helper()
	external := op.from == withExternal
	p.guestWrite(1)
	opts := []snapshot.Option{}
	if external {
		opts = append(opts, snapshot.DiskOnly())
	}
	_, err := p.m.Snapshot.Create(p.ctx(), victim, base, opts...)
	require.NoError(p.t, err)
	p.guestWrite(2)
	rep, _, lived := f.run(p.t)
	possible := []state{before, op.after}
	if lived {
		require.Empty(p.t, rep.Err)
		possible = possible[1:]
	}
	require.ErrorIs(p.t, p.m.Snapshot.Delete(p.ctx(), victim, "none"), errors.ErrSnapshotNotFound) // mends
	found := state{present: p.guestPresent()}
	for _, s := range possible {
		if s.present == found.present && len(p.list()) == len(s.snapshots) {
			found = s
			break
		}
	}
	require.NotNil(p.t, found.snapshots, "generation %d with snapshots %v", found.present, p.list())
	for _, name := range []string{subject, base} {
		if generation, ok := found.snapshots[name]; ok {
			require.NoError(p.t, p.m.Snapshot.Load(p.ctx(), victim, name))
			require.Equal(p.t, generation, p.guestPresent())
		}
		if _, ok := p.list()[name]; ok {
			require.NoError(p.t, p.m.Snapshot.Delete(p.ctx(), victim, name))
		}
	}
	require.Empty(p.t, p.list())
	return rep
}

func (p *patient) machine() *maqet.Machine {
	p.t.Helper()
	g, err := p.m.Machine(p.ctx(), victim)
	require.NoError(p.t, err)
	return g
}

// sh runs a script in the guest, once its agent answers.
func (p *patient) sh(script string, args ...string) string {
	p.t.Helper()
	g := p.machine()
	require.NoError(p.t, g.WaitFor(p.ctx(), guest.AgentReady()))
	res, err := g.Exec(p.ctx(), append([]string{"sh", "-c", script, "sh"}, args...)...)
	require.NoError(p.t, err, "%s", res.Stderr)
	return strings.TrimSpace(string(res.Stdout))
}

// guestWrite has the guest fill both disks with a generation, and note it in its memory.
func (p *patient) guestWrite(generation int) {
	p.t.Helper()
	p.sh(`set -e
for d in vda vdb; do tr '\000' "\\00$1" </dev/zero | dd of=/dev/$d bs=64k count=64 iflag=fullblock 2>/dev/null; done
sync
echo $1 >/tmp/generation`, strconv.Itoa(generation))
}

// guestPresent returns the generation that the guest reads everywhere on both disks. What it
// has in memory is the same, or nothing: it has booted since.
func (p *patient) guestPresent() int {
	p.t.Helper()
	out := p.sh(`set -e
sync
echo 3 >/proc/sys/vm/drop_caches
for g in 1 2; do
	test "$(cat /dev/vda /dev/vdb | tr -d "\\00$g" | wc -c)" -ne 0 || echo disks $g
done
if test -e /tmp/generation; then echo memory $(cat /tmp/generation); fi`)
	var disks int
	_, err := fmt.Sscanf(out, "disks %d", &disks)
	require.NoError(p.t, err, "the disks are of one moment: %q", out)
	var memory int
	if _, err := fmt.Sscanf(out, "disks %d\nmemory %d", &disks, &memory); err == nil {
		require.Equal(p.t, disks, memory)
	}
	return disks
}
