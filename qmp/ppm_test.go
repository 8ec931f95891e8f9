package qmp

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"testing"

	"github.com/stretchr/testify/require"
)

// encodePPM writes a picture as QEMU does (ui/console.c, ppm_save).
func encodePPM(img image.Image) []byte {
	b := img.Bounds()
	out := fmt.Appendf(nil, "P6\n%d %d\n%d\n", b.Dx(), b.Dy(), 255)
	for y := b.Min.Y; y < b.Max.Y; y++ {
		for x := b.Min.X; x < b.Max.X; x++ {
			c := color.RGBAModel.Convert(img.At(x, y)).(color.RGBA)
			out = append(out, c.R, c.G, c.B)
		}
	}
	return out
}

func TestPPM(t *testing.T) {
	want := image.NewRGBA(image.Rect(0, 0, 3, 2))
	for i := range 6 {
		want.SetRGBA(i%3, i/3, color.RGBA{byte(i), byte(40 * i), byte(255 - i), 255})
	}
	got, err := decodePPM(encodePPM(want))
	require.NoError(t, err)
	require.Equal(t, want, got)
	for _, header := range []string{"P6 1 1 255 ", "P6\n# by hand\n1\t1 # again\n255\n", "P6\r\n01 001\v255\f"} {
		got, err := decodePPM([]byte(header + "\n #"))
		require.NoError(t, err, header)
		require.Equal(t, []byte("\n #\xff"), got.Pix)
	}
}

func TestPPMRefusesWhatIsNone(t *testing.T) {
	for _, data := range []string{
		"", "P", "P6", "P5\n1 1\n255\nabc", "P6\n1 1\n255\nab", "P6\n1 1\n255\nabcd", "P6\n1 1\n255", "P6\n1 1\n65535\nabcdef",
		"P6\n0 1\n255\n", "P6\n-1 1\n255\nabc", "P61 1\n255\nabc", "P6\n1 1\n255abc", "P6\n# no end", "P6\n1 x\n255\nabc",
		"P6\n999999999 999999999\n255\nabc", "P6\n4294967296 1\n255\nabc", "P6\n1\n255\nabc",
	} {
		img, err := decodePPM([]byte(data))
		require.Error(t, err, "%q", data)
		require.Nil(t, img)
	}
}

func FuzzPPM(f *testing.F) {
	f.Add(encodePPM(image.NewRGBA(image.Rect(0, 0, 2, 2))))
	f.Add([]byte("P6 # c\n1 1 255 abc"))
	f.Fuzz(func(t *testing.T, data []byte) {
		img, err := decodePPM(data)
		if err != nil {
			return
		}
		out := encodePPM(img)
		again, err := decodePPM(out)
		require.NoError(t, err)
		require.Equal(t, img, again)
		pixels := 3 * img.Bounds().Dx() * img.Bounds().Dy()
		require.True(t, bytes.HasSuffix(data, out[len(out)-pixels:]))
	})
}
