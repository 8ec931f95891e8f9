package qmp

import (
	"bytes"
	"context"
	"image"
	"image/color"
	"image/png"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
)

// dumper is a Conn with a camera of its own.
type dumper struct {
	*Relay
	data  []byte
	err   error
	asked ScreenshotOptions
}

func (d *dumper) Screendump(_ context.Context, o ScreenshotOptions) ([]byte, error) {
	d.asked = o
	return d.data, d.err
}

func TestScreendumper(t *testing.T) {
	var encoded bytes.Buffer
	gray := image.NewGray(image.Rect(0, 0, 2, 1))
	gray.SetGray(1, 0, color.Gray{Y: 200})
	require.NoError(t, png.Encode(&encoded, gray))
	d := &dumper{Relay: NewRelay(nil)}
	defer d.Close()
	m := NewManager(oneVM{d})
	want := ScreenshotOptions{Device: "adapter", Head: 1}
	for name, data := range map[string][]byte{"PNG": encoded.Bytes(), "PPM": []byte("P6 2 1 255\n\x00\x00\x00\xc8\xc8\xc8")} {
		d.data = data
		img, err := m.ScreenshotOf(t.Context(), "web", want)
		require.NoError(t, err, name)
		require.Equal(t, want, d.asked)
		require.Equal(t, color.RGBA{200, 200, 200, 255}, img.(*image.RGBA).RGBAAt(1, 0), name)
	}
	for name, data := range map[string][]byte{"nothing": nil, "half a PNG": encoded.Bytes()[:40], "a PNG's beginning": []byte("\x89PNG\r\n\x1a\n")} {
		d.data = data
		_, err := m.Screenshot(t.Context(), "web")
		require.ErrorIs(t, err, errors.ErrQMP, name)
	}
	_, err := m.ScreenshotOf(t.Context(), "web", ScreenshotOptions{Head: 1})
	require.ErrorIs(t, err, errors.ErrConfiguration)

	d.err = errors.Wrap(errors.ErrQMPUnsupported, "take a screenshot", "", errors.New("no display"))
	_, err = m.Screenshot(t.Context(), "web")
	require.ErrorIs(t, err, errors.ErrQMPUnsupported)
	require.ErrorContains(t, err, `"web"`)
	_, err = NewManager(oneVM{d}, WithPolicy(Policy{Normal: Deny})).Screenshot(t.Context(), "web")
	require.ErrorIs(t, err, errors.ErrQMPDenied)
}
