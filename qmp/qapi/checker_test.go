package qapi_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/maqet/maqet/qmp/qapi"
)

// checker holds Go types against a QEMU's own description of its types.
type checker struct {
	schema    schema
	version   string              // of the schema
	build     bool                // the schema may lack what a build can do without
	constants map[string][]string // values of each Go enumeration
	problems  []string
	seen      map[string]bool
	used      map[string]bool // entries of since and until that explain something
}

// member is what the schema says about a member of an object.
type member struct {
	typ      string
	optional bool
	variant  bool // only in some variants
}

func (c *checker) problem(path, format string, args ...any) {
	c.problems = append(c.problems, path+": "+fmt.Sprintf(format, args...))
}

// check holds g against the type called name. args says that g is sent to QEMU.
func (c *checker) check(path string, g reflect.Type, name string, args bool) {
	for g.Kind() == reflect.Pointer {
		g = g.Elem()
	}
	key := fmt.Sprint(g, name, args)
	if g.Name() == "" {
		key += path
	}
	if c.seen[key] {
		return
	}
	c.seen[key] = true
	if c.special(path, g, name, args) {
		return
	}
	info, ok := c.schema[name]
	if !ok {
		c.problem(path, "the schema has no type %q", name)
		return
	}
	switch info.MetaType {
	case qapi.SchemaMetaTypeBuiltin:
		c.builtin(path, g, info.JSONType)
	case qapi.SchemaMetaTypeEnum:
		c.enum(path, g, info)
	case qapi.SchemaMetaTypeArray:
		if g.Kind() != reflect.Slice {
			c.problem(path, "%s for a list", g)
			return
		}
		c.check(path+"[]", g.Elem(), info.ElementType, args)
	case qapi.SchemaMetaTypeObject:
		if g.Kind() != reflect.Struct {
			c.problem(path, "%s for an object", g)
			return
		}
		c.object(path, g, name, args)
	case qapi.SchemaMetaTypeAlternate: // a nullable string
		if g.Kind() != reflect.String || !slices.ContainsFunc(info.Members, func(m qapi.SchemaInfoMember) bool { return m.Type == "str" }) {
			c.problem(path, "%s for an alternate", g)
		}
	}
}

func (c *checker) builtin(path string, g reflect.Type, want qapi.JSONType) {
	fits := false
	switch want {
	case qapi.JSONTypeString:
		fits = g.Kind() == reflect.String
	case qapi.JSONTypeInt:
		fits = g.Kind() >= reflect.Int && g.Kind() <= reflect.Uint64
	case qapi.JSONTypeNumber:
		fits = g.Kind() == reflect.Float64
	case qapi.JSONTypeBoolean:
		fits = g.Kind() == reflect.Bool
	case qapi.JSONTypeValue:
		fits = g.Kind() == reflect.Interface || g.Kind() == reflect.Map || g == reflect.TypeFor[json.RawMessage]()
	}
	if !fits {
		c.problem(path, "%s for a %s", g, want)
	}
}

// enum also checks that the type's constants are values that QEMU knows, and the other
// way round.
func (c *checker) enum(path string, g reflect.Type, info qapi.SchemaInfo) {
	if g.Kind() != reflect.String {
		c.problem(path, "%s for an enumeration", g)
		return
	}
	if g.Name() == "string" {
		return
	}
	ours := c.constants[g.Name()]
	for _, value := range ours {
		if !slices.Contains(info.Values, value) && !c.excused(since, g.Name()+"="+value) && !c.build && !buildOption(g.Name()) {
			c.problem(path, "QEMU %s has no %s %q", c.version, g.Name(), value)
		}
	}
	for _, value := range info.Values {
		if !slices.Contains(ours, value) && !leftOut[g.Name()+"="+value] && !strings.HasPrefix(value, "x-") {
			c.problem(path, "%s has no constant for %q", g.Name(), value)
		}
	}
}

// buildOption says of enumerations that each build of QEMU has its own choice of them.
// The check of 10.0's testdata still holds most of them.
func buildOption(name string) bool {
	return slices.Contains([]string{
		"BlockdevDriver", "NetClientDriver", "ChardevBackendKind", "MultiFDCompression", "DisplayReloadType", "BlockExportType",
	}, name)
}

// members returns the members of an object in all its variants.
func (c *checker) members(name string) map[string]member {
	all := map[string]member{}
	info := c.schema[name]
	for _, m := range info.Members {
		all[m.Name] = member{typ: m.Type, optional: m.Default != nil}
	}
	for _, v := range info.Variants {
		for n, m := range c.members(v.Type) {
			if _, base := all[n]; !base {
				all[n] = member{typ: m.typ, optional: true, variant: true}
			}
		}
	}
	return all
}

func (c *checker) object(path string, g reflect.Type, name string, args bool) {
	want := c.members(name)
	owner := g.Name()
	if owner == "" {
		owner = path
	}
	open := false // what it has no field for goes to Props
	for field := range fields(g) {
		tag, omit := jsonName(field)
		if tag == "-" {
			open = true
			continue
		}
		m, ok := want[tag]
		if !ok {
			if !c.excused(since, owner+"."+tag) && !c.excused(until, owner+"."+tag) {
				c.problem(path, "QEMU %s has no %s.%s", c.version, owner, tag)
			}
			continue
		}
		if args && omit && !m.optional && !c.excused(since, owner+"."+tag+"?") {
			c.problem(path, "%s.%s is needed and can't be left out", owner, tag)
		}
		if args && !omit && m.optional && !m.variant && !always[owner+"."+tag] {
			c.problem(path, "%s.%s is optional and can't be left out", owner, tag)
		}
		c.check(path+"."+tag, field.Type, m.typ, args)
		delete(want, tag)
	}
	for n, m := range want {
		switch {
		case open && m.variant, strings.HasPrefix(n, "x-"), !args && open:
		case leftOut[owner+"."+n] && m.optional, !args && leftOut[owner+"."+n]:
		default:
			c.problem(path, "%s has no field for %s", owner, n)
		}
	}
}

// excused says whether a table explains why this version does not have what is called
// name: in since the version is older than the entry, in until it is not.
func (c *checker) excused(table map[string]string, name string) bool {
	version, ok := table[name]
	if !ok {
		return false
	}
	c.used[name] = true
	if reflect.ValueOf(table).Pointer() == reflect.ValueOf(since).Pointer() {
		return older(c.version, version)
	}
	return !older(c.version, version)
}

// fields are the fields of a struct, with those of embedded structs in their place.
func fields(g reflect.Type) func(yield func(reflect.StructField) bool) {
	return func(yield func(reflect.StructField) bool) {
		for _, f := range reflect.VisibleFields(g) {
			if f.Anonymous || !f.IsExported() {
				continue
			}
			if !yield(f) {
				return
			}
		}
	}
}

func jsonName(f reflect.StructField) (name string, omitempty bool) {
	name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
	return name, options == "omitempty"
}
