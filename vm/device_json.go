package vm

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
)

// UnmarshalJSON keeps whole numbers in Props exact: they become int64, or uint64 above it,
// where encoding/json makes a float64 of every number.
func (d *Device) UnmarshalJSON(data []byte) error {
	type fields Device // has no UnmarshalJSON
	var f fields
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	if err := dec.Decode(&f); err != nil {
		return err
	}
	for key, v := range f.Props {
		exact, err := exactNumbers(v)
		if err != nil {
			return fmt.Errorf("props[%s]: %w", key, err)
		}
		f.Props[key] = exact
	}
	*d = Device(f)
	return nil
}

func exactNumbers(v any) (any, error) {
	var err error
	switch v := v.(type) {
	case json.Number:
		if i, err := strconv.ParseInt(v.String(), 10, 64); err == nil {
			return i, nil
		}
		if u, err := strconv.ParseUint(v.String(), 10, 64); err == nil {
			return u, nil
		}
		return v.Float64()
	case []any:
		for i := range v {
			if v[i], err = exactNumbers(v[i]); err != nil {
				return nil, err
			}
		}
	case map[string]any:
		for k := range v {
			if v[k], err = exactNumbers(v[k]); err != nil {
				return nil, err
			}
		}
	}
	return v, nil
}
