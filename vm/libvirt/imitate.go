package libvirt

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/digitalocean/go-libvirt"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/qmp"
)

// imitate answers a request where the driver has no monitor, such as libvirt's test
// driver: what a vm.Manager needs, by libvirt's own calls.
func (c *control) imitate(ctx context.Context, request []byte) ([]byte, error) {
	var in struct {
		Execute string `json:"execute"`
	}
	if err := json.Unmarshal(request, &in); err != nil {
		return nil, errors.Wrap(errors.ErrQMP, "", "", err)
	}
	var do func(l *libvirt.Libvirt) error
	done := []byte(`{"return":{}}`)
	switch in.Execute {
	case "query-status":
		return c.imitateStatus(ctx)
	case "stop":
		do = func(l *libvirt.Libvirt) error { return l.DomainSuspend(c.domain) }
	case "cont":
		do = func(l *libvirt.Libvirt) error { return l.DomainResume(c.domain) }
	case "system_reset":
		do = func(l *libvirt.Libvirt) error { return l.DomainReset(c.domain, 0) }
	case "system_powerdown":
		do = func(l *libvirt.Libvirt) error { return l.DomainShutdown(c.domain) }
	case "quit":
		do = func(l *libvirt.Libvirt) error { return l.DomainDestroy(c.domain) }
	default:
		return nil, &errors.Error{Kind: errors.ErrQMPUnsupported, Msg: "libvirt's driver of " + c.host.opts.URI + " has no QEMU monitor"}
	}
	if err := c.host.call(ctx, "QMP "+in.Execute, c.vm, do); err != nil {
		return nil, controlError(err)
	}
	return done, nil
}

func (c *control) imitateStatus(ctx context.Context) ([]byte, error) {
	state, err := ask(ctx, c.host.call, "QMP query-status", c.vm, func(l *libvirt.Libvirt) (int32, error) {
		state, _, err := l.DomainGetState(c.domain, 0)
		return state, err
	})
	if err != nil {
		return nil, controlError(err)
	}
	status := runState(libvirt.DomainState(state))
	return fmt.Appendf(nil, `{"return":{"status":%q,"running":%t,"singlestep":false}}`, status, status == "running"), nil
}

// runState is what QEMU calls a state of libvirt's (QEMU QMP Reference Manual, RunState).
func runState(s libvirt.DomainState) string {
	switch s {
	case libvirt.DomainRunning, libvirt.DomainBlocked:
		return "running"
	case libvirt.DomainShutdown, libvirt.DomainShutoff:
		return "shutdown"
	case libvirt.DomainCrashed:
		return "guest-panicked"
	case libvirt.DomainPmsuspended:
		return "suspended"
	}
	return "paused"
}

// tell publishes the event that QEMU would have sent for a lifecycle event of libvirt's,
// where the driver has no monitor: elsewhere QEMU's own comes.
func (c *control) tell(what libvirt.DomainEventType, at time.Time) {
	names := map[libvirt.DomainEventType]string{libvirt.DomainEventSuspended: "STOP", libvirt.DomainEventResumed: "RESUME"}
	if name := names[what]; name != "" && c.bare.Load() {
		c.Publish(qmp.Event{Name: name, Time: at})
	}
}
