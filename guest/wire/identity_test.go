package wire

import (
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// whole is an identity in which nothing is empty.
func whole() Identity {
	return Identity{
		Seed: []byte("seed"), Now: time.Unix(1_700_000_000, 42), Hostname: "fork-1", MachineID: "5a",
		Cards: []Card{
			{From: [6]byte{1, 2, 3, 4, 5, 6}, MAC: [6]byte{6, 5, 4, 3, 2, 1}},
			{From: [6]byte{1}, MAC: [6]byte{2}, Address: netip.MustParsePrefix("10.1.2.3/16"), Shared: true},
		},
	}
}

func TestIdentityThereAndBack(t *testing.T) {
	for name, id := range map[string]Identity{"whole": whole(), "only a seed": {Seed: []byte("x"), Now: time.Unix(1, 0)}} {
		t.Run(name, func(t *testing.T) {
			got, err := DecodeIdentity(id.Encode())
			require.NoError(t, err)
			require.Equal(t, id, got)
		})
	}
	none, err := DecodeIdentity((Identity{}).Encode())
	require.NoError(t, err)
	require.True(t, none.Now.IsZero(), "no time stays none")
}

func TestDecodeIdentityRefusesWhatIsNone(t *testing.T) {
	encoded := whole().Encode()
	for n := range encoded {
		_, err := DecodeIdentity(encoded[:n])
		require.ErrorIs(t, err, ErrProtocol, "cut after %d bytes", n)
	}
	for name, id := range map[string]Identity{
		"too long a seed": {Seed: make([]byte, maxSeed+1)},
		"too many cards":  {Cards: make([]Card, maxCards+1)},
	} {
		_, err := DecodeIdentity(id.Encode())
		require.ErrorIs(t, err, ErrProtocol, name)
	}
}

func TestFreshDiffersEachTime(t *testing.T) {
	a, b := whole().Fresh(), whole().Fresh()
	require.NotEqual(t, a.Seed, b.Seed)
	require.Len(t, a.Seed, seedSize)
	require.WithinDuration(t, time.Now(), a.Now, time.Minute)
	require.Equal(t, whole().Cards, a.Cards)
}

func TestIndividualize(t *testing.T) {
	ops := &fakeOps{}
	s := session(t, ops)
	require.NoError(t, s.Individualize(within(t, 5*time.Second), whole()))
	require.Equal(t, whole(), ops.id)

	err := s.Individualize(within(t, 5*time.Second), Identity{Hostname: "refused"})
	var remote *RemoteError
	require.ErrorAs(t, err, &remote)
	require.ErrorIs(t, err, syscall.EPERM)
	require.Equal(t, "individualize", remote.Op)

	for _, id := range []Identity{{Seed: make([]byte, maxSeed+1)}, {Cards: make([]Card, maxCards+1)}} {
		require.Error(t, s.Individualize(within(t, 5*time.Second), id))
	}
	require.Equal(t, "refused", ops.id.Hostname, "what is too large is not sent")
}
