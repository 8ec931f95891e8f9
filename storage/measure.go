package storage

import (
	"cmp"
	"context"
	"encoding/json"
	"strconv"

	"github.com/maqet/maqet/errors"
)

// MeasureSpec says of which image to find out how much space it would take. Give Path and
// Format, for a conversion, or Size, for an empty image.
type MeasureSpec struct {
	Path   string // anywhere
	Format string // of Path: FormatRaw or FormatQcow2, never probed
	Size   int64  // bytes, a multiple of 512
	To     string // format of the new image; empty: FormatQcow2
	Qcow2  Qcow2Options
}

// Measurement is how much space an image would take.
type Measurement struct {
	Required int64 `json:"required"`        // bytes of the file at first
	Full     int64 `json:"fully-allocated"` // bytes of the file once the guest has written everywhere
	Bitmaps  int64 `json:"bitmaps"`         // bytes besides, for the dirty bitmaps, if they are taken along
}

// Measure returns how much space an image would take that [Manager.Convert] or
// [Manager.Create] makes, uncompressed. Errors are those of [Manager.Map].
func (m *Manager) Measure(ctx context.Context, spec MeasureSpec) (out Measurement, err error) {
	spec.To = cmp.Or(spec.To, FormatQcow2)
	op := "measure image " + quote(spec.Path)
	if spec.Path == "" {
		op = "measure image of " + strconv.FormatInt(spec.Size, 10) + " bytes"
	}
	err = checkTarget(spec.To, spec.Qcow2, false)
	if err == nil {
		err = m.measure(ctx, spec, &out)
	}
	return out, storageError(op, err)
}

func (m *Manager) measure(ctx context.Context, spec MeasureSpec, into *Measurement) error {
	args := append([]string{"-O", spec.To}, spec.Qcow2.args()...)
	if spec.Path != "" {
		if spec.Size != 0 {
			return errors.New("there are a Path and a Size: give one of them")
		}
		return m.query(ctx, into, spec.Path, spec.Format, "measure", args...)
	}
	if err := checkSize(spec.Size); err != nil {
		return err
	}
	args = append([]string{"measure", "--output=json"}, args...)
	out, err := m.runner.Run(ctx, append(args, "--size", strconv.FormatInt(spec.Size, 10))...)
	if err != nil {
		return err
	}
	return json.Unmarshal(out, into)
}
