package layered

import (
	"encoding"
	"fmt"
	"math"
	"reflect"
	"strconv"
)

// text reads a text or a number by the type's own form. The type's error is the message.
func (d *decoder) text(n *Node, into encoding.TextUnmarshaler) {
	text := n.Text
	switch v := n.Value.(type) {
	case int64: // hexadecimal and octal numbers, too
		text = strconv.FormatInt(v, 10)
	case uint64:
		text = strconv.FormatUint(v, 10)
	case bool:
		d.mismatch(n, "a text or a number", "write the value, such as 512M or 30s")
		return
	}
	if n.Kind != Scalar {
		d.mismatch(n, "a text or a number", "write one value behind the key, such as 512M or 30s")
		return
	}
	if err := into.UnmarshalText([]byte(text)); err != nil {
		d.add(n, "", err.Error(), "")
	}
}

func (d *decoder) scalar(n *Node, into reflect.Value) {
	switch into.Kind() {
	case reflect.String:
		d.str(n, into)
	case reflect.Bool:
		if b, ok := n.Value.(bool); ok {
			into.SetBool(b)
			return
		}
		d.mismatch(n, "true or false", boolFix(n))
	default:
		d.number(n, into)
	}
}

// str takes numbers as well, as they are written: version: 2.0 is the text "2.0".
func (d *decoder) str(n *Node, into reflect.Value) {
	_, isBool := n.Value.(bool)
	switch {
	case n.Kind != Scalar:
		d.mismatch(n, "a text", "write one value behind the key")
	case isBool:
		d.add(n, n.Text, "is true or false, not a text", fmt.Sprintf("put it in quotes, %q, if the text is meant", n.Text))
	default:
		into.SetString(n.Text)
	}
}

func boolFix(n *Node) string {
	switch n.Text {
	case "yes", "Yes", "YES", "on", "On", "ON", "y", "1", "true":
		return "write true, without quotes"
	case "no", "No", "NO", "off", "Off", "OFF", "n", "0", "false":
		return "write false, without quotes"
	}
	return "write true or false"
}

func (d *decoder) number(n *Node, into reflect.Value) {
	switch v := n.Value.(type) {
	case int64:
		if into.CanInt() && !into.OverflowInt(v) {
			into.SetInt(v)
			return
		}
		if into.CanUint() && v >= 0 && !into.OverflowUint(uint64(v)) {
			into.SetUint(uint64(v))
			return
		}
		d.outOfRange(n, into)
	case uint64:
		if into.CanUint() && !into.OverflowUint(v) {
			into.SetUint(v)
			return
		}
		d.outOfRange(n, into)
	case Huge:
		d.outOfRange(n, into)
	case float64:
		d.add(n, n.Text, "is not a whole number", "write it without a fraction")
	case string:
		fix := "write a whole number"
		if _, isInt := plainValue(n.Text).(int64); isInt {
			fix = "write it without quotes: " + n.Text
		}
		d.mismatch(n, "a number", fix)
	default:
		d.mismatch(n, "a number", "write a whole number")
	}
}

func (d *decoder) outOfRange(n *Node, into reflect.Value) {
	if into.Type().Bits() == 64 {
		d.add(n, n.Text, "is out of range", "use a number of less than 64 bits")
		return
	}
	low, high := "0", strconv.FormatUint(uint64(math.MaxUint64)>>(64-into.Type().Bits()), 10)
	if into.CanInt() {
		limit := int64(math.MaxInt64) >> (64 - into.Type().Bits())
		low, high = strconv.FormatInt(-limit-1, 10), strconv.FormatInt(limit, 10)
	}
	d.add(n, n.Text, "is out of range", fmt.Sprintf("use a whole number from %s to %s", low, high))
}

// any keeps what the file says: bool, int64, uint64, float64, string, and maps and lists of
// them.
func (d *decoder) any(n *Node, into reflect.Value) {
	if v := d.free(n); v != nil {
		into.Set(reflect.ValueOf(v))
	}
}

func (d *decoder) free(n *Node) any {
	switch n.Kind {
	case Map:
		out := make(map[string]any, len(n.Entries))
		for _, e := range n.Entries {
			if e.Value.Kind != Null {
				d.at.own(e.Key)
				out[e.Key] = d.free(e.Value)
				d.at.back()
			}
		}
		return out
	case List:
		out := []any{}
		for i, item := range n.Items() {
			d.at.item(i)
			out = append(out, d.free(item))
			d.at.back()
		}
		return out
	case Null:
		d.add(n, "", "is empty", "remove the item, or give it a value")
		return nil
	}
	if f, ok := n.Value.(float64); ok && (math.IsNaN(f) || math.IsInf(f, 0)) {
		d.add(n, n.Text, "is not a number that QEMU can take", "write a finite number, or put it in quotes if the text is meant")
		return nil
	}
	if _, ok := n.Value.(Huge); ok {
		d.add(n, n.Text, "has more than 64 bits", "use a smaller number, or put it in quotes if the text is meant")
		return nil
	}
	return n.Value
}
