package guest

import (
	"context"
	"maps"
	"slices"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/qmp"
	"github.com/maqet/maqet/qmp/qapi"
	"github.com/maqet/maqet/vm"
)

// What can have become of a guest, so that nobody in it knows of the host's connections.
var (
	errReset    = errors.New("the guest was reset")
	errReverted = errors.New("the guest was brought back to a snapshot")
)

// Renew drops this process's connections into the guest of a VM that is brought back to an
// earlier moment by a job of QEMU: the guest knows nothing of them, and can believe in others
// that have ended since. Calls that use them fail with errors.ErrAgentUnavailable; later ones
// connect anew, and so do those that have not begun to work in the guest yet. To be called
// before the job is started, so that nobody is left waiting for an answer, and after it,
// before the guest runs.
//
// Connections that [Manager.Dial] has made through a forward of the network are the
// caller's.
func (m *Manager) Renew(ctx context.Context, ref, job string) error {
	g, err := m.machines.Live(ctx, ref)
	if err != nil {
		return err
	}
	l := m.linkTo(g)
	if l == nil {
		return nil // closed: there are none
	}
	l.mu.Lock()
	l.loads[job] = struct{}{}
	l.mu.Unlock()
	m.drop(l, errReverted)
	return nil
}

// broughtBack reports whether an event says that another process has the guest brought back
// to a snapshot.
func (l *link) broughtBack(ev qmp.Event) bool {
	var change qapi.JobStatusChangeEvent
	if ev.Decode(&change) != nil || !vm.IsLoadJob(change.ID) {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	_, ours := l.loads[change.ID]
	if change.Status == qapi.JobStatusNull {
		delete(l.loads, change.ID)
	}
	return !ours && (change.Status == qapi.JobStatusCreated || change.Status == qapi.JobStatusConcluded)
}

// drop ends all connections with a guest that is not any more who it was.
func (m *Manager) drop(l *link, why error) {
	m.log.Debug("sessions dropped", "why", why)
	l.mu.Lock()
	l.renew(why)
	l.epoch, l.renew = context.WithCancelCause(m.ctx)
	ssh := slices.Collect(maps.Keys(l.ssh))
	l.mu.Unlock()
	l.replace(nil, why)
	l.agent.drop()
	for _, w := range ssh {
		w.hangUp()
	}
}

// keepSSH has the link end an ssh connection with the others. It reports false when the guest
// has become another since epoch.
func (l *link) keepSSH(epoch context.Context, m *Manager, w *sshWay) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.epoch != epoch {
		return false
	}
	l.ssh[w] = struct{}{}
	m.background(func(context.Context) { // w ends with the manager
		<-w.ended
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.ssh, w)
	})
	return true
}
