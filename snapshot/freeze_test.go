package snapshot_test

import (
	"context"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/snapshot"
)

// ice is a freezer that records what is asked of it.
type ice struct {
	mu     sync.Mutex
	calls  []string
	refuse error
}

func (i *ice) call(what string) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.calls = append(i.calls, what)
	if what == "freeze" {
		return i.refuse
	}
	return nil
}

// frozen: the guest is frozen for the moment only, and thawed whatever happens.
func (r *runningBench) frozen(t *testing.T) {
	freezer := &ice{}
	r.ice = freezer
	defer func() { r.ice = nil }()
	refusal := &errors.Error{Kind: errors.ErrAgentUnavailable, Op: "freeze"}
	defer func() { r.onStep = nil }()
	for _, c := range []struct {
		name   string
		opts   []snapshot.Option
		refuse error
		cut    string // step at which ctx ends
		want   []string
		frozen bool
		err    error
	}{
		{name: "by default", want: []string{"freeze", "backup: start", "thaw", "backup: close"}, frozen: true},
		{name: "never", opts: []snapshot.Option{snapshot.NoFreeze()}, want: []string{"backup: start", "backup: close"}},
		{name: "no agent", refuse: refusal, want: []string{"freeze", "backup: start", "backup: close"}},
		{name: "must", opts: []snapshot.Option{snapshot.MustFreeze()}, refuse: refusal, want: []string{"freeze"}, err: errors.ErrAgentUnavailable},
		{name: "cut off", cut: "backup: start", want: []string{"freeze", "backup: start", "thaw"}, err: context.Canceled},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(patience(t))
			defer cancel()
			freezer.calls, freezer.refuse = nil, c.refuse
			r.onStep = func(_ context.Context, step string) {
				if step == c.cut {
					cancel()
				}
				if step == "backup: start" || step == "backup: close" {
					_ = freezer.call(step)
				}
			}
			got, err := r.Backup(ctx, r.id, r.dir, c.opts...)
			require.ErrorIs(t, err, c.err)
			r.settled()
			require.Equal(t, c.want, freezer.calls)
			require.Equal(t, c.frozen, got.Frozen)
		})
	}
}
