package maqet

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/guest"
	"github.com/maqet/maqet/snapshot"
	"github.com/maqet/maqet/vm"
)

// Pool keeps forks of a template ready and hands them out at once; see [snapshot.Pool]. It is
// safe for concurrent use.
type Pool struct {
	m    *Maqet
	pool *snapshot.Pool
}

// forks has what a pool needs of both.
type forks struct {
	*snapshot.Coordinator
	*vm.Manager
}

// NewPool makes a pool of forks of a template; see [snapshot.NewPool]. Without a WarmUp of its
// own each fork runs "true" before it is ready, unless its agent is disabled. [Pool.Close] ends
// it, or [Maqet.Close].
func (m *Maqet) NewPool(ctx context.Context, template string, o snapshot.PoolOptions) (*Pool, error) {
	ctx, done, err := m.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	if o.WarmUp == nil {
		o.WarmUp = m.warmUp
	}
	pool, err := snapshot.NewPool(ctx, forks{m.Snapshot, m.VM}, template, o)
	if err != nil {
		return nil, err
	}
	p := &Pool{m: m, pool: pool}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.pools[p] = struct{}{} // Close waits for this call before it looks
	return p, nil
}

// Get hands out a fork that is ready, or waits for the next one; see [snapshot.Pool.Get]. The
// fork belongs to the caller.
func (p *Pool) Get(ctx context.Context) (*Machine, error) {
	inst, err := p.pool.Get(ctx)
	if err != nil {
		return nil, err
	}
	return &Machine{m: p.m, id: inst.ID, name: inst.Name}, nil
}

// Status returns how many forks the pool has.
func (p *Pool) Status() snapshot.PoolStatus { return p.pool.Status() }

// Close ends and removes the forks that were not handed out; see [snapshot.Pool.Close].
func (p *Pool) Close() error {
	p.m.mu.Lock()
	delete(p.m.pools, p)
	p.m.mu.Unlock()
	return p.pool.Close()
}

func (m *Maqet) closePools() error {
	m.mu.Lock()
	pools := slices.Collect(maps.Keys(m.pools))
	m.mu.Unlock()
	var errs []error
	for _, p := range pools {
		errs = append(errs, errors.Wrap(errors.ErrMaqet, "close pool", "", p.Close()))
	}
	return errors.Join(errs...)
}

const (
	// warmUps is how often a new fork runs a program before it is ready: under TCG the first
	// takes ten times as long as the tenth, the second still a third longer.
	warmUps = 2
	// warmUpLimit is for what takes a tenth of a second on a host that is not overloaded.
	warmUpLimit = time.Minute
)

// warmUp runs a program in a fork: the first one is slow where the guest is emulated, since the
// code that makes processes has to be translated.
func (m *Maqet) warmUp(ctx context.Context, fork vm.Instance) error {
	if fork.Config.Agent.Disabled {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, warmUpLimit)
	defer cancel()
	for range warmUps {
		if _, err := m.Guest.Exec(ctx, fork.ID, guest.Command{Args: []string{"true"}}); err != nil {
			return err
		}
	}
	return nil
}
