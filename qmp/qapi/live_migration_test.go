package qapi_test

import (
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/qmp/qapi"
)

func TestMigrationCommands(t *testing.T) {
	machine := []string{"-M", "q35", "-accel", "tcg", "-m", "32M"}
	from := startQEMU(t, machine...)
	to := startQEMU(t, append(machine, "-incoming", "defer")...)
	ctx := within(t, time.Minute)
	sub := from.Subscribe(qapi.EventMigration)
	defer sub.Close()

	events := []qapi.MigrationCapabilityStatus{{Capability: qapi.MigrationCapabilityEvents, State: true}}
	require.NoError(t, qapi.MigrateSetCapabilities(ctx, from, events))
	capabilities, err := qapi.QueryMigrateCapabilities(ctx, from)
	require.NoError(t, err)
	require.True(t, slices.Contains(capabilities, events[0]))
	require.NoError(t, qapi.MigrateSetParameters(ctx, from, qapi.MigrateSetParametersArgs{
		DowntimeLimit: new(uint64(500)), MaxBandwidth: new(uint64(1 << 30)), TLSCreds: new(""), CPUThrottleTailslow: new(false),
	}))
	parameters, err := qapi.QueryMigrateParameters(ctx, from)
	require.NoError(t, err)
	require.EqualValues(t, 500, *parameters.DowntimeLimit)

	uri := "unix:" + filepath.Join(t.TempDir(), "migration")
	require.NoError(t, qapi.MigrateIncoming(ctx, to, qapi.MigrateIncomingArgs{URI: uri}))
	require.NoError(t, qapi.Migrate(ctx, from, qapi.MigrateArgs{URI: uri}))
	_, _, err = qapi.Await(ctx, sub, func(e qapi.MigrationEvent) bool { return e.Status == qapi.MigrationStatusCompleted })
	require.NoError(t, err)
	info, err := qapi.QueryMigrate(ctx, from)
	require.NoError(t, err)
	require.Equal(t, qapi.MigrationStatusCompleted, info.Status)
	require.Positive(t, info.RAM.Transferred)
	require.NotNil(t, info.TotalTime)

	require.NoError(t, qapi.MigrateCancel(ctx, from), "nothing to cancel is no error")
	require.NoError(t, qapi.AnnounceSelf(ctx, to, qapi.AnnounceParameters{Initial: 50, Max: 100, Rounds: 2, Step: 50}))
	require.Error(t, qapi.MigratePause(ctx, from))
	require.Error(t, qapi.MigrateContinue(ctx, from, qapi.MigrationStatusPreSwitchover))
	require.NoError(t, qapi.Yank(ctx, from, []qapi.YankInstance{}))
	require.NoError(t, qapi.CalcDirtyRate(ctx, to, qapi.CalcDirtyRateArgs{CalcTime: 1}))
	_, err = qapi.QueryDirtyRate(ctx, to, "")
	require.NoError(t, err)
}

// An address of QEMU 8.2 and later: transport, socket and their common object.
func TestMigrationChannels(t *testing.T) {
	c := startQEMU(t, "-M", "q35", "-accel", "tcg", "-m", "32M", "-incoming", "defer")
	err := qapi.MigrateIncoming(within(t, 30*time.Second), c, qapi.MigrateIncomingArgs{
		Channels: []qapi.MigrationChannel{{
			ChannelType: qapi.MigrationChannelTypeMain,
			Addr: qapi.MigrationAddress{
				Transport:     qapi.MigrationAddressTypeSocket,
				SocketAddress: &qapi.SocketAddress{Type: qapi.SocketAddressTypeUnix, Path: filepath.Join(t.TempDir(), "m")},
			},
		}},
		ExitOnError: new(false),
	})
	if v := c.Greeting().Version; v.Major < 9 {
		require.ErrorIs(t, err, errors.ErrQMPCommand, "an older QEMU knows no channels")
		return
	}
	require.NoError(t, err)
}
