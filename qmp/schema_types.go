package qmp

import (
	"maps"
	"slices"
)

// TypesOf returns the JSON types that a command's argument can have, sorted: "int",
// "number", "bool", "str" (also for enumerations), "null", "object", "array", or "any".
// The argument is a member's name, of any variant; "data.path" is a member of a member.
// It is empty where the schema says nothing: of a command or an argument that it does not
// have, or one that QEMU checks by itself, such as the properties of device_add.
func (s *Schema) TypesOf(command, argument string) []string {
	types := map[string]bool{}
	for _, t := range s.reach(s.commands[command], argument) {
		s.jsonTypes(t, types)
	}
	return slices.Sorted(maps.Keys(types))
}

// jsonTypes adds what a type looks like in JSON. What is not described in the schema is
// built in, and named as its JSON type (QEMU, docs/devel/qapi-code-gen, "SchemaInfoBuiltin").
func (s *Schema) jsonTypes(t string, types map[string]bool) {
	info := s.types[t]
	switch {
	case info == nil:
		types[t] = true
	case info.element != "":
		types["array"] = true
	case info.values != nil:
		types["str"] = true
	case info.members != nil:
		types["object"] = true
	default: // an alternate, whose branches are not alternates themselves
		for _, part := range info.parts {
			s.jsonTypes(part, types)
		}
	}
}
