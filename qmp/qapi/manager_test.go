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

// oneVM finds the same connection for each VM.
type oneVM struct{ conn qmp.Conn }

func (f oneVM) QMP(context.Context, string) (qmp.Conn, error) { return f.conn, nil }

// The functions work on a VM of a manager as on a client, under the manager's policy.
func TestFunctionsOnAManager(t *testing.T) {
	r := &recorder{}
	web := qmp.NewManager(oneVM{r}).On("web")
	_, err := qapi.QueryStatus(t.Context(), web)
	require.NoError(t, err)
	require.Equal(t, "query-status", r.command)

	disk := qapi.BlockdevOptions{Driver: qapi.BlockdevDriverFile, NodeName: "n", Filename: "/x"}
	require.ErrorIs(t, qapi.BlockdevAdd(t.Context(), web, disk), errors.ErrQMPDenied)
	require.Equal(t, "query-status", r.command, "nothing was sent")
	require.NoError(t, qapi.BlockdevAdd(qmp.AllowDangerous(t.Context()), web, disk))
	require.Equal(t, "blockdev-add", r.command)
}

// An answer that does not fit is an error, not a half-filled value.
func TestAnswersThatDoNotFit(t *testing.T) {
	_, err := qapi.QueryBlock(t.Context(), wrong(`{"device": 7}`))
	require.ErrorIs(t, err, errors.ErrQMP)
	_, err = qapi.QueryMemoryDevices(t.Context(), wrong(`[{"type": "dimm", "data": []}]`))
	require.ErrorIs(t, err, errors.ErrQMP)
}

// wrong is an executor with one answer to everything.
type wrong string

func (w wrong) Execute(context.Context, string, any) (json.RawMessage, error) {
	return json.RawMessage(w), nil
}
