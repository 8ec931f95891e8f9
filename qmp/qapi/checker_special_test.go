package qapi_test

import (
	"reflect"
	"slices"

	"github.com/maqet/maqet/qmp/qapi"
)

// special checks the types whose JSON form their fields don't tell, and says whether g
// is one.
func (c *checker) special(path string, g reflect.Type, name string, args bool) bool {
	if branch, ok := qapi.Branches[g]; ok {
		c.union(path, name, args, func(kind string) reflect.Type {
			if p := branch(kind); p != nil {
				return reflect.TypeOf(p).Elem()
			}
			if !leftOut[g.Name()+"="+kind] {
				c.problem(path, "%s has no type for %s", g.Name(), kind)
			}
			return nil
		})
		c.check(path+".type", g.Field(0).Type, c.members(name)["type"].typ, args)
		return true
	}
	switch g {
	case reflect.TypeFor[qapi.SocketAddressLegacy]():
		c.socketAddressLegacy(path, name)
	case reflect.TypeFor[qapi.KeyValue]():
		c.union(path, name, args, func(kind string) reflect.Type {
			switch kind {
			case "number":
				return reflect.TypeFor[int64]()
			case "qcode":
				return reflect.TypeFor[qapi.QKeyCode]()
			}
			c.problem(path, "KeyValue has no %s", kind)
			return nil
		})
	case reflect.TypeFor[qapi.BlockDirtyBitmapOrStr]():
		c.alternate(path, name, args, reflect.TypeFor[string](), reflect.TypeFor[qapi.BlockDirtyBitmap]())
	case reflect.TypeFor[qapi.BlockdevRef]():
		c.alternate(path, name, args, reflect.TypeFor[string](), reflect.TypeFor[qapi.BlockdevOptions](), nil)
	case reflect.TypeFor[qapi.StatsValue]():
		c.alternate(path, name, args, reflect.TypeFor[uint64](), reflect.TypeFor[[]uint64](), reflect.TypeFor[bool]())
	case reflect.TypeFor[qapi.SchemaInfoMember]():
		// Members of three kinds of types; TestSchemaIsRead checks that it has it all.
	default:
		return false
	}
	return true
}

// union checks each branch of a union with type and data.
func (c *checker) union(path, name string, args bool, branch func(kind string) reflect.Type) {
	info := c.schema[name]
	if info.Tag != "type" || len(info.Variants) == 0 {
		c.problem(path, "no union by type")
		return
	}
	for _, v := range info.Variants {
		data := c.members(v.Type)
		if len(data) != 1 || data["data"].typ == "" {
			c.problem(path, "branch %s has not just data", v.Case)
			continue
		}
		if g := branch(v.Case); g != nil {
			c.check(path+"<"+v.Case+">", g, data["data"].typ, args)
		}
	}
}

// socketAddressLegacy checks that the branches' data have all what a SocketAddress has.
func (c *checker) socketAddressLegacy(path, name string) {
	have := map[string]bool{}
	for _, v := range c.schema[name].Variants {
		for n, m := range c.members(c.members(v.Type)["data"].typ) {
			have[n] = true
			field, ok := fieldOf(reflect.TypeFor[qapi.SocketAddress](), n)
			if !ok {
				c.problem(path, "SocketAddress has no field for %s", n)
				continue
			}
			c.check(path+"."+n, field.Type, m.typ, false)
		}
	}
	for f := range fields(reflect.TypeFor[qapi.SocketAddress]()) {
		if n, _ := jsonName(f); n != "type" && !have[n] {
			c.problem(path, "QEMU %s has no %s", c.version, n)
		}
	}
}

// alternate checks that each type that the schema allows is one of ours, by the kind of
// its JSON; nil stands for null.
func (c *checker) alternate(path, name string, args bool, ours ...reflect.Type) {
	for _, m := range c.schema[name].Members {
		info := c.schema[m.Type]
		i := slices.IndexFunc(ours, func(g reflect.Type) bool {
			switch {
			case g == nil:
				return info.JSONType == qapi.JSONTypeNull
			case info.MetaType == qapi.SchemaMetaTypeObject:
				return g.Kind() == reflect.Struct
			case info.MetaType == qapi.SchemaMetaTypeArray:
				return g.Kind() == reflect.Slice
			case info.JSONType == qapi.JSONTypeString:
				return g.Kind() == reflect.String
			case info.JSONType == qapi.JSONTypeInt:
				return g.Kind() == reflect.Uint64
			}
			return info.JSONType == qapi.JSONTypeBoolean && g.Kind() == reflect.Bool
		})
		if i < 0 {
			c.problem(path, "nothing for %s (%s %s)", m.Type, info.MetaType, info.JSONType)
		} else if ours[i] != nil {
			c.check(path, ours[i], m.Type, args)
		}
	}
}

func fieldOf(g reflect.Type, tag string) (reflect.StructField, bool) {
	for f := range fields(g) {
		if n, _ := jsonName(f); n == tag {
			return f, true
		}
	}
	return reflect.StructField{}, false
}
