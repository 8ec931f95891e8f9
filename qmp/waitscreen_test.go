package qmp

import (
	"image"
	"image/color"
	"image/draw"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestScreenChanged(t *testing.T) {
	from := image.NewRGBA(image.Rect(0, 0, 20, 10))
	now := image.NewRGBA(from.Bounds())
	for i := range 5 {
		now.Set(3*i, i, color.White)
	}
	other := image.NewNRGBA(from.Bounds())
	draw.Draw(other, other.Bounds(), now, image.Point{}, draw.Src)
	for name, pictures := range map[string][2]image.Image{
		"screenshots":   {from, now},
		"another type":  {from, other},
		"part of a one": {from.SubImage(image.Rect(0, 0, 19, 9)), now.SubImage(image.Rect(0, 0, 19, 9))},
	} {
		require.True(t, ScreenChanged(pictures[0], 5)(pictures[1]), name)
		require.False(t, ScreenChanged(pictures[0], 6)(pictures[1]), name)
		require.False(t, ScreenChanged(pictures[1], 1)(pictures[1]), name)
	}
	require.False(t, ScreenChanged(now, 1)(other))
	require.True(t, ScreenChanged(from, 1000)(image.NewRGBA(image.Rect(0, 0, 20, 11))), "another size")
}

func BenchmarkScreenChanged(b *testing.B) {
	from, now := image.NewRGBA(image.Rect(0, 0, 720, 400)), image.NewRGBA(image.Rect(0, 0, 720, 400))
	for b.Loop() {
		ScreenChanged(from, 1)(now)
	}
}
