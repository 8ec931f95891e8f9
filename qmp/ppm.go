package qmp

import (
	"bytes"
	"fmt"
	"image"

	"github.com/maqet/maqet/errors"
)

// maxScreen bounds the size in bytes of a picture that QEMU writes: the guest chooses
// how large its screen is.
const maxScreen = 256 << 20

// decodePPM reads a picture in the form that QEMU's screendump writes: a binary PPM
// with one byte a sample (netpbm, ppm(5)). Anything else is an error: less data than
// the header says, or more. Memory is asked for only once the data are known to be there.
func decodePPM(data []byte) (*image.RGBA, error) {
	rest, ok := bytes.CutPrefix(data, []byte("P6"))
	if !ok {
		return nil, errors.New("PPM: does not start with P6")
	}
	var header [3]int // width, height, largest value
	for i := range header {
		var err error
		if header[i], rest, err = ppmNumber(rest); err != nil {
			return nil, err
		}
	}
	width, height, largest := header[0], header[1], header[2]
	if largest != 255 {
		return nil, fmt.Errorf("PPM: values up to %d, not up to 255", largest)
	}
	if len(rest) == 0 || !isPPMSpace(rest[0]) {
		return nil, errors.New("PPM: no space after the header")
	}
	rest = rest[1:]
	if width == 0 || height == 0 || width > maxScreen/3/height || len(rest) != 3*width*height {
		return nil, fmt.Errorf("PPM: %d bytes for %d x %d pixels", len(rest), width, height)
	}
	img := image.NewRGBA(image.Rect(0, 0, width, height))
	for out := img.Pix; len(rest) >= 3; rest, out = rest[3:], out[4:] {
		out[0], out[1], out[2], out[3] = rest[0], rest[1], rest[2], 0xff
	}
	return img, nil
}

// ppmNumber reads a number with at least one space, or a comment, before it.
func ppmNumber(data []byte) (n int, rest []byte, err error) {
	start := len(data)
	for len(data) > 0 && (isPPMSpace(data[0]) || data[0] == '#') {
		if data[0] == '#' {
			end := bytes.IndexByte(data, '\n')
			if end < 0 {
				return 0, nil, errors.New("PPM: a comment has no end")
			}
			data = data[end:]
		}
		data = data[1:]
	}
	digits := 0
	for digits < len(data) && digits < 9 && '0' <= data[digits] && data[digits] <= '9' {
		n = 10*n + int(data[digits]-'0')
		digits++
	}
	if digits == 0 || len(data) == start {
		return 0, nil, errors.New("PPM: a number is missing in the header")
	}
	return n, data[digits:], nil
}

func isPPMSpace(c byte) bool { return c == ' ' || '\t' <= c && c <= '\r' }
