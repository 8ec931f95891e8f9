package guest_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/guest"
	"github.com/maqet/maqet/guest/wire"
	"github.com/maqet/maqet/vm"
)

// TestIndividualizeRefusesNonsense before anybody in the guest hears of it.
func TestIndividualizeRefusesNonsense(t *testing.T) {
	v := newFakeVM(t)
	m := v.manager(t)
	card := func(c vm.CardChange) vm.Identity { return vm.Identity{Cards: []vm.CardChange{c}} }
	for name, id := range map[string]vm.Identity{
		"host name with a blank":      {Hostname: "a b"},
		"host name with a new line":   {Hostname: "a\n"},
		"host name with a slash":      {Hostname: "../a"},
		"host name like an option":    {Hostname: "-a"},
		"host name that begins badly": {Hostname: ".a"},
		"host name too long":          {Hostname: strings.Repeat("a", 65)},
		"machine ID too short":        {MachineID: "5a"},
		"machine ID in upper case":    {MachineID: strings.Repeat("5A", 16)},
		"machine ID with a new line":  {MachineID: strings.Repeat("5", 31) + "\n"},
		"machine ID of zeros":         {MachineID: strings.Repeat("0", 32)},
		"no old MAC":                  card(vm.CardChange{MAC: newMAC}),
		"no new MAC":                  card(vm.CardChange{From: oldMAC}),
		"MAC of 8 bytes":              card(vm.CardChange{From: oldMAC, MAC: "02:00:5e:10:00:00:00:01"}),
		"address without prefix":      card(vm.CardChange{From: oldMAC, MAC: newMAC, Address: "10.1.2.3"}),
		"IPv6 address":                card(vm.CardChange{From: oldMAC, MAC: newMAC, Address: "fd00::1/64"}),
	} {
		t.Run(name, func(t *testing.T) {
			err := m.Individualize(soon(t), "box", id)
			require.ErrorIs(t, err, errors.ErrInvalidConfiguration)
			require.ErrorContains(t, err, "box")
		})
	}
	require.Zero(t, v.dials.Load())
}

func TestIndividualizeEndsWithItsContext(t *testing.T) {
	v := withInit(t, newFakeVM(t))
	hold := make(chan struct{})
	v.ops.individualize = func(wire.Identity) error { <-hold; return nil }
	defer close(hold)
	m := v.manager(t)
	require.NoError(t, m.Ping(soon(t), "box"))
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	begun := time.Now()
	err := m.Individualize(ctx, "box", vm.Identity{Hostname: "other"})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorIs(t, err, errors.ErrGuest)
	require.Less(t, time.Since(begun), 5*time.Second)
}

// TestIndividualizeSendsAFreshSeedEachTime and the time of that moment.
func TestIndividualizeSendsAFreshSeedEachTime(t *testing.T) {
	v := withInit(t, newFakeVM(t))
	var got []wire.Identity
	v.ops.individualize = func(id wire.Identity) error { got = append(got, id); return nil }
	m := v.manager(t)
	id := vm.Identity{Hostname: "other", Cards: []vm.CardChange{
		{From: oldMAC, MAC: newMAC}, {From: oldMAC, MAC: newMAC, Renew: true}, {From: oldMAC, MAC: newMAC, Address: "10.1.2.3/16"}}}
	for range 2 {
		require.NoError(t, m.Individualize(soon(t), "box", id))
	}
	require.Len(t, got, 2)
	require.Equal(t, "other", got[0].Hostname)
	require.GreaterOrEqual(t, len(got[0].Seed), 32)
	require.NotEqual(t, got[0].Seed, got[1].Seed)
	require.WithinDuration(t, time.Now(), got[1].Now, time.Minute)
	require.Len(t, got[0].Cards, 3)
	require.Equal(t, []bool{false, true, true}, []bool{got[0].Cards[0].Shared, got[0].Cards[1].Shared, got[0].Cards[2].Shared})
}

// TestIndividualizeWithoutARunningGuest has no guest to work in.
func TestIndividualizeWithoutARunningGuest(t *testing.T) {
	v := newFakeVM(t)
	v.die(&errors.Error{Kind: errors.ErrVMNotRunning})
	require.ErrorIs(t, guest.NewManager(v).Individualize(soon(t), "box", vm.Identity{}), errors.ErrVMNotRunning)
}
