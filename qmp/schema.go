package qmp

import (
	"context"
	"maps"
	"slices"
	"strings"
)

// Schema is what a QEMU says of its own QMP interface (QEMU, docs/devel/qapi-code-gen,
// "Client JSON Protocol introspection"). It is not changed once read, so it is safe for
// concurrent use.
type Schema struct {
	commands map[string]string // name -> its arguments' type
	events   map[string]string // name -> its data's type
	types    map[string]*schemaType
}

// schemaType is a type of QAPI, by its meta type. Of alternates only what all
// branches accept together is kept.
type schemaType struct {
	members map[string]string // object: name -> type
	parts   []string          // object: variants; alternate: branches
	element string            // array
	values  map[string]bool   // enum
}

// schemaInfo is QAPI's SchemaInfo, all meta types in one.
type schemaInfo struct {
	Name        string       `json:"name"`
	MetaType    string       `json:"meta-type"`
	ArgType     string       `json:"arg-type"`
	ElementType string       `json:"element-type"`
	Members     []schemaPart `json:"members"`
	Variants    []schemaPart `json:"variants"`
	Values      []string     `json:"values"`
}

// schemaPart is a member, a variant or an enumeration's value.
type schemaPart struct {
	Name string `json:"name"`
	Type string `json:"type"`
}

// ReadSchema asks a QEMU for its schema (query-qmp-schema), about 200 KB.
func ReadSchema(ctx context.Context, e Executor) (*Schema, error) {
	infos, err := Do[[]schemaInfo](ctx, e, "query-qmp-schema", nil)
	if err != nil {
		return nil, err
	}
	s := &Schema{commands: map[string]string{}, events: map[string]string{}, types: map[string]*schemaType{}}
	for _, info := range infos {
		s.add(info)
	}
	return s, nil
}

func (s *Schema) add(info schemaInfo) {
	switch info.MetaType {
	case "command":
		s.commands[info.Name] = info.ArgType
	case "event":
		s.events[info.Name] = info.ArgType
	case "array":
		s.types[info.Name] = &schemaType{element: info.ElementType}
	case "enum":
		t := &schemaType{values: map[string]bool{}}
		for _, v := range info.Values { // since QEMU 6.2 also as members, with features
			t.values[v] = true
		}
		for _, m := range info.Members {
			t.values[m.Name] = true
		}
		s.types[info.Name] = t
	case "object":
		t := &schemaType{members: map[string]string{}}
		for _, m := range info.Members {
			t.members[m.Name] = m.Type
		}
		for _, v := range info.Variants {
			t.parts = append(t.parts, v.Type)
		}
		s.types[info.Name] = t
	case "alternate":
		t := &schemaType{}
		for _, m := range info.Members {
			t.parts = append(t.parts, m.Type)
		}
		s.types[info.Name] = t
	}
}

// Supports reports whether the command exists and takes all the arguments. An argument
// is a member's name, of any variant; "data.path" is a member of a member, also through
// arrays; "format=png" asks whether a member's enumeration has a value.
//
//	s.Supports("screendump", "format=png")
//	s.Supports("blockdev-add", "driver=nvme", "detect-zeroes")
func (s *Schema) Supports(command string, arguments ...string) bool {
	args, ok := s.commands[command]
	return ok && s.have(args, arguments)
}

// HasEvent reports whether the event exists and carries all the members, in the form
// that [Schema.Supports] takes.
func (s *Schema) HasEvent(event string, members ...string) bool {
	data, ok := s.events[event]
	return ok && s.have(data, members)
}

// Commands returns the names of all commands, sorted.
func (s *Schema) Commands() []string { return slices.Sorted(maps.Keys(s.commands)) }

// Events returns the names of all events, sorted.
func (s *Schema) Events() []string { return slices.Sorted(maps.Keys(s.events)) }

func (s *Schema) have(object string, paths []string) bool {
	for _, path := range paths {
		path, value, wantsValue := strings.Cut(path, "=")
		at := s.reach(object, path)
		if len(at) == 0 || wantsValue && !slices.ContainsFunc(at, func(t string) bool { return s.hasValue(t, value) }) {
			return false
		}
	}
	return true
}

// reach returns the types that the member at path, "data.path", has in object.
func (s *Schema) reach(object, path string) []string {
	at := []string{object}
	for name := range strings.SplitSeq(path, ".") {
		at = s.step(at, name)
	}
	return at
}

// step returns the types that the member called name has in any of the types.
func (s *Schema) step(from []string, name string) (to []string) {
	seen := map[string]bool{} // types contain themselves: a block node has child nodes
	var look func(t string)
	look = func(t string) {
		info := s.types[t]
		if info == nil || seen[t] {
			return
		}
		seen[t] = true
		if info.element != "" {
			look(info.element)
		}
		if found, ok := info.members[name]; ok && !slices.Contains(to, found) {
			to = append(to, found)
		}
		for _, part := range info.parts {
			look(part)
		}
	}
	for _, t := range from {
		look(t)
	}
	return to
}

func (s *Schema) hasValue(t, value string) bool {
	info := s.types[t]
	switch {
	case info == nil || info.members != nil:
		return false
	case info.element != "":
		return s.hasValue(info.element, value)
	case info.values != nil:
		return info.values[value]
	}
	return slices.ContainsFunc(info.parts, func(part string) bool { return s.hasValue(part, value) })
}
