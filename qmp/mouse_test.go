package qmp

import (
	"fmt"
	"image"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
)

func TestQEMUGetsClicks(t *testing.T) {
	m, seen := startTraced(t)
	ctx := within(t, time.Minute)
	u := m.Mouse("web", MouseOptions{Gap: -1})
	require.NoError(t, u.Click(ctx, ButtonRight))
	require.Equal(t, "+right -right", seen())
	require.NoError(t, u.DoubleClick(ctx, ButtonLeft))
	require.Equal(t, "+left -left +left -left", seen())
	require.NoError(t, u.Scroll(ctx, -1, 2))
	require.Equal(t, "+wheel-down -wheel-down +wheel-down -wheel-down +wheel-left -wheel-left", seen())
	require.NoError(t, u.Scroll(ctx, 1, -1))
	require.Equal(t, "+wheel-up -wheel-up +wheel-right -wheel-right", seen())
	require.ErrorIs(t, u.Click(ctx, "wheel-up"), errors.ErrConfigValidation)
	require.ErrorIs(t, u.DoubleClick(ctx, ""), errors.ErrConfigValidation)

	u = m.Mouse("web", MouseOptions{Screen: image.Rect(0, 0, 640, 480)})
	err := u.Move(ctx, image.Pt(1, 1))
	require.ErrorIs(t, err, errors.ErrQMPUnsupported, "it has a relative mouse only")
	require.ErrorContains(t, err, "virtio-tablet-pci")
	require.ErrorIs(t, u.Drag(ctx, ButtonLeft, image.Pt(1, 1), image.Pt(2, 2)), errors.ErrQMPUnsupported)
	require.ErrorIs(t, u.Move(ctx, image.Pt(640, 1)), errors.ErrConfigValidation)
	require.ErrorIs(t, u.Drag(ctx, "none", image.Pt(1, 1), image.Pt(2, 2)), errors.ErrConfigValidation)
	require.ErrorIs(t, u.Drag(ctx, ButtonLeft, image.Pt(1, 1), image.Pt(-1, 2)), errors.ErrConfigValidation)
	require.ErrorIs(t, m.Mouse("web", MouseOptions{}).Move(ctx, image.Pt(1, 1)), errors.ErrQMPUnsupported, "no display")
	require.Empty(t, seen())
}

func TestMouseMovesToPixels(t *testing.T) {
	var sent []string
	m, _ := managed(t, func(request string) string {
		switch {
		case strings.Contains(request, "query-status"):
			return `{"return": {"status": "running", "running": true}}`
		case strings.Contains(request, "query-mice"):
			return `{"return": [{"name": "ps2", "index": 1, "current": false, "absolute": false}, {"name": "t", "index": 2, "current": true, "absolute": true}]}`
		}
		sent = append(sent, strings.TrimSpace(request))
		return `{"return": {}}`
	})
	move := func(x, y int) string {
		return fmt.Sprintf(`{"execute":"input-send-event","arguments":{"events":[{"type":"abs","data":{"axis":"x","value":%d}},`+
			`{"type":"abs","data":{"axis":"y","value":%d}}]}}`, x, y)
	}
	press := func(b string, down bool) string {
		return fmt.Sprintf(`{"execute":"input-send-event","arguments":{"events":[{"type":"btn","data":{"down":%v,"button":%q}}]}}`, down, b)
	}
	u := m.Mouse("web", MouseOptions{Gap: -1, Screen: image.Rect(100, 100, 300, 200)})
	require.NoError(t, u.Drag(t.Context(), ButtonMiddle, image.Pt(100, 100), image.Pt(299, 199)))
	require.Equal(t, []string{
		move(81, 163), press("middle", true), move(16301, 16219), move(32685, 32603), press("middle", false),
	}, sent)
}

// A guest comes from QEMU's axis back to the pixel, in whichever usual way it reckons.
func TestAxis(t *testing.T) {
	for _, size := range []int{1, 2, 3, 320, 720, 1080, 1920, 3840, 8192} {
		for pixel := range size {
			v := axis(pixel, size)
			require.Equal(t, pixel, v*size/(axisMax+1), "%d of %d", pixel, size)
			require.InDelta(t, float64(pixel), float64(v)*float64(size-1)/axisMax, 0.75)
		}
	}
}
