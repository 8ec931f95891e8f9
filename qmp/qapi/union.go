package qapi

import (
	"encoding/json"
	"reflect"
)

// unmarshalUnion decodes a union of the form {"type": ..., "data": ...}. branch returns
// a pointer to a new value for a kind, or nil for a kind that it does not know: a newer
// QEMU must not make an answer unreadable, so its data stays raw.
func unmarshalUnion[K ~string](text []byte, kind *K, data *any, branch func(K) any) error {
	var wire struct {
		Type K               `json:"type"`
		Data json.RawMessage `json:"data"`
	}
	if err := json.Unmarshal(text, &wire); err != nil {
		return err
	}
	*kind = wire.Type
	p := branch(wire.Type)
	if p == nil || len(wire.Data) == 0 {
		*data = wire.Data
		return nil
	}
	if err := json.Unmarshal(wire.Data, p); err != nil {
		return err
	}
	*data = reflect.ValueOf(p).Elem().Interface()
	return nil
}
