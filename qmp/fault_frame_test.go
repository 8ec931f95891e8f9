package qmp

import (
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/qmp/qmptest"
)

// fakeQEMU returns a fake and a client of it.
func fakeQEMU(t testing.TB, opts ...ClientOption) (*qmptest.Server, *Client) {
	t.Helper()
	s := qmptest.NewServer()
	t.Cleanup(func() {
		s.Close()
		require.NoError(t, s.Err())
	})
	c, err := Dial(within(t, 10*time.Second), s.Network, s.Addr, opts...)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	return s, c
}

// heap returns how many bytes are in use after the garbage is collected.
func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// The longest frame passes, a byte more is one typed error, and the memory for it is
// given back while the client lives on.
func TestFramesAtTheLimit(t *testing.T) {
	for name, tc := range map[string]struct {
		size int
		opts []ClientOption
		want error
	}{
		"at the default":    {defaultFrameLimit, nil, nil},
		"above the default": {defaultFrameLimit + 1, nil, errors.ErrQMPConnection},
		"limit raised":      {defaultFrameLimit + 1, []ClientOption{FrameLimit(defaultFrameLimit + 1)}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			s, c := fakeQEMU(t, tc.opts...)
			s.OnCommand("query-name", qmptest.Huge(tc.size))
			before := heap()
			out, err := c.Execute(within(t, time.Minute), "query-name", nil)
			if tc.want == nil {
				require.NoError(t, err)
				require.Len(t, out, tc.size-len(`{"return": }`+"\r\n"))
				_, err = c.Execute(within(t, time.Minute), "query-status", nil)
				require.NoError(t, err)
			} else {
				require.ErrorIs(t, err, tc.want)
				require.NotErrorIs(t, err, errors.ErrQMPTimeout)
				require.ErrorIs(t, c.Err(), tc.want)
			}
			size := len(out)
			out = nil
			grown := heap() - before
			require.Less(t, grown, int64(4<<20), "of a reply of %d bytes", size)
			runtime.KeepAlive(c)
			t.Logf("%d bytes; %d KiB more in use afterwards", tc.size, grown>>10)
		})
	}
}

// A frame without an end, at a peer that would go on for ever, takes no more memory
// than the limit allows.
func TestFrameWithoutEnd(t *testing.T) {
	const limit = 1 << 20
	s, c := fakeQEMU(t, FrameLimit(limit))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	s.Inject(qmptest.Huge(256 << 20))
	closed(t, c.Done())
	runtime.ReadMemStats(&after)
	require.ErrorIs(t, c.Err(), errors.ErrQMPConnection)
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(10*limit))
}
