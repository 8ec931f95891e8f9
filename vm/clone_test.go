package vm_test

import (
	"reflect"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/vm"
)

// Every field is filled by reflection, so that a field added later and forgotten in
// Clone fails here.
func TestCloneSharesNothing(t *testing.T) {
	var inst vm.Instance
	fill(reflect.ValueOf(&inst).Elem())
	clone := inst.Clone()
	require.Equal(t, inst, clone)
	requireApart(t, "Instance", reflect.ValueOf(inst), reflect.ValueOf(clone))
}

func TestCloneKeepsNil(t *testing.T) {
	require.Equal(t, vm.Instance{}, vm.Instance{}.Clone())
	dev := vm.Config{Devices: []vm.Device{{Driver: "x"}}}
	require.Equal(t, dev, dev.Clone())
}

// fill sets v and everything below it to something other than the zero value.
func fill(v reflect.Value) {
	if v.Type() == reflect.TypeFor[time.Time]() {
		v.Set(reflect.ValueOf(time.Unix(1, 0)))
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i))
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		fill(v.Index(0))
		fill(v.Index(1))
	case reflect.Map:
		key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		fill(key)
		fill(value)
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(key, value)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem())
	case reflect.Interface:
		v.Set(reflect.ValueOf(map[string]any{"list": []any{"a", map[string]any{"b": 1}}}))
	case reflect.String:
		v.SetString("text")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Uint32, reflect.Uint64:
		v.SetUint(7)
	case reflect.Int, reflect.Int64:
		v.SetInt(7)
	default:
		panic("fill can't do " + v.Kind().String())
	}
}

// requireApart fails where a and b point to the same memory.
func requireApart(t *testing.T, path string, a, b reflect.Value) {
	t.Helper()
	if a.Type() == reflect.TypeFor[time.Time]() {
		return
	}
	switch a.Kind() {
	case reflect.Struct:
		for i := range a.NumField() {
			requireApart(t, path+"."+a.Type().Field(i).Name, a.Field(i), b.Field(i))
		}
	case reflect.Slice:
		require.NotEqual(t, a.Pointer(), b.Pointer(), path)
		for i := range a.Len() {
			requireApart(t, path+"[]", a.Index(i), b.Index(i))
		}
	case reflect.Map:
		require.NotEqual(t, a.Pointer(), b.Pointer(), path)
		for _, k := range a.MapKeys() {
			requireApart(t, path+"[]", a.MapIndex(k), b.MapIndex(k))
		}
	case reflect.Pointer:
		if a.Type().Elem().Size() > 0 { // what has no content shares nothing, wherever it is
			require.NotEqual(t, a.Pointer(), b.Pointer(), path)
		}
	case reflect.Interface:
		requireApart(t, path, a.Elem(), b.Elem())
	}
}
