package qapi_test

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/qmp"
	"github.com/maqet/maqet/qmp/qapi"
)

func TestPropsAreOneObjectWithTheRest(t *testing.T) {
	text, err := json.Marshal(qapi.DeviceAddArgs{Driver: "d", ID: "i", Props: map[string]any{"z": 1, "a": []int{2}, "n": nil}})
	require.NoError(t, err)
	require.Equal(t, `{"driver":"d","id":"i","a":[2],"n":null,"z":1}`, string(text))

	text, err = json.Marshal(qapi.DeviceAddArgs{Driver: "d", Props: map[string]any{"bus": "b"}})
	require.NoError(t, err, "a field that is not set is free")
	var back qapi.DeviceAddArgs
	require.NoError(t, json.Unmarshal(text, &back))
	require.Equal(t, qapi.DeviceAddArgs{Driver: "d", Bus: "b"}, back)
	require.NoError(t, json.Unmarshal([]byte(`{"driver": "e"}`), &back))
	require.Nil(t, back.Props)

	for name, bad := range map[string]any{
		"twice":          qapi.DeviceAddArgs{Driver: "d", Props: map[string]any{"driver": "e"}},
		"no JSON":        qapi.Netdev{Props: map[string]any{"x": make(chan int)}},
		"twice, deep":    qapi.BlockdevOptions{File: &qapi.BlockdevRef{Options: &qapi.BlockdevOptions{Props: map[string]any{"driver": "e"}}}},
		"twice, object":  qapi.ObjectOptions{Props: map[string]any{"id": "e"}},
		"twice, created": qapi.BlockdevCreateOptions{Props: map[string]any{"size": 1}},
	} {
		_, err := json.Marshal(bad)
		require.Error(t, err, name)
	}
}

// What can't be sent is an error that says what is wrong, before anything is sent.
func TestBadPropsAreNotSent(t *testing.T) {
	c := qmp.NewClient()
	err := qapi.DeviceAdd(t.Context(), c, qapi.DeviceAddArgs{Driver: "d", Props: map[string]any{"driver": "e"}})
	require.ErrorIs(t, err, errors.ErrQMP)
	require.NotErrorIs(t, err, errors.ErrQMPConnection)
	require.ErrorContains(t, err, "Props has driver")
}

// Arguments that are parameters reach QEMU under the right names.
func TestParametersAsArguments(t *testing.T) {
	for want, call := range map[string]func(context.Context, qmp.Executor) error{
		`blockdev-insert-medium {"id":"i","node-name":"n"}`: func(ctx context.Context, e qmp.Executor) error {
			return qapi.BlockdevInsertMedium(ctx, e, "i", "n")
		},
		`set_link {"name":"n","up":true}`: func(ctx context.Context, e qmp.Executor) error {
			return qapi.SetLink(ctx, e, "n", true)
		},
		`ringbuf-write {"device":"d","data":"x","format":"base64"}`: func(ctx context.Context, e qmp.Executor) error {
			return qapi.RingbufWrite(ctx, e, "d", "x", qapi.DataFormatBase64)
		},
		`qom-set {"path":"p","property":"q","value":false}`: func(ctx context.Context, e qmp.Executor) error {
			return qapi.QOMSet(ctx, e, "p", "q", false)
		},
		`qom-get {"path":"p","property":"q"}`: func(ctx context.Context, e qmp.Executor) error {
			_, err := qapi.QOMGet[int](ctx, e, "p", "q")
			return err
		},
		`block-job-cancel {"device":"d","force":true}`: func(ctx context.Context, e qmp.Executor) error {
			return qapi.BlockJobCancel(ctx, e, "d", true)
		},
		`block-job-set-speed {"device":"d","speed":0}`: func(ctx context.Context, e qmp.Executor) error {
			return qapi.BlockJobSetSpeed(ctx, e, "d", 0)
		},
		`blockdev-snapshot-delete-internal-sync {"device":"d","name":"n"}`: func(ctx context.Context, e qmp.Executor) error {
			_, err := qapi.BlockdevSnapshotDeleteInternalSync(ctx, e, "d", "", "n")
			return err
		},
		`block-export-del {"id":"i"}`: func(ctx context.Context, e qmp.Executor) error { return qapi.BlockExportDel(ctx, e, "i", "") },
		`remove-fd {"fdset-id":0}`:    func(ctx context.Context, e qmp.Executor) error { return qapi.RemoveFD(ctx, e, 0, nil) },
		`blockdev-set-active {"active":false}`: func(ctx context.Context, e qmp.Executor) error {
			return qapi.BlockdevSetActive(ctx, e, "", false)
		},
	} {
		r := &recorder{}
		require.NoError(t, call(t.Context(), r))
		text, err := json.Marshal(r.args)
		require.NoError(t, err)
		require.Equal(t, want, r.command+" "+string(text))
	}
}
