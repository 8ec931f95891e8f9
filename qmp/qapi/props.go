package qapi

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"

	"github.com/maqet/maqet/errors"
)

// marshalProps marshals common, a struct, and adds props to the same object. A name that
// is in both is an error: QEMU would take one of the two.
func marshalProps(common any, props map[string]any) ([]byte, error) {
	text, err := json.Marshal(common)
	if err != nil || len(props) == 0 {
		return text, err
	}
	var have map[string]json.RawMessage
	if err := json.Unmarshal(text, &have); err != nil {
		return nil, err
	}
	for name := range props {
		if _, twice := have[name]; twice {
			return nil, &errors.Error{
				Kind: errors.ErrQMP, Op: "QMP arguments", Msg: "Props has " + name + ", which is set by its own field, too",
				Hint: "set it once",
			}
		}
	}
	rest, err := json.Marshal(props)
	if err != nil {
		return nil, err
	}
	if len(have) == 0 {
		return rest, nil
	}
	text[len(text)-1] = ','
	return append(text, rest[1:]...), nil
}

// unmarshalProps decodes text into common, a pointer to a struct, and the members that
// common has no field for into props. Numbers become json.Number, which keeps them exact.
func unmarshalProps(text []byte, common any, props *map[string]any) error {
	if err := json.Unmarshal(text, common); err != nil {
		return err
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var rest map[string]any
	if err := d.Decode(&rest); err != nil {
		return err
	}
	for field := range reflect.TypeOf(common).Elem().Fields() {
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		delete(rest, name)
	}
	*props = nil
	if len(rest) > 0 {
		*props = rest
	}
	return nil
}
