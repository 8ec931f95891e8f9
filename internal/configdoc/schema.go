package configdoc

import (
	"encoding/json"
	"math"
	"reflect"
	"strconv"
	"strings"

	"github.com/maqet/maqet/vm"
)

type object = map[string]any

// Schema returns the JSON Schema of a configuration file. A file may leave everything out,
// because others may say it, so that nothing is required; null takes a value back to its
// default everywhere.
func Schema(sections []Section) ([]byte, error) {
	defs := object{
		"text": object{"type": []string{"string", "number", "null"}},
		"size": object{"description": "bytes, or a number with a unit: 512M, 1.5G", "anyOf": []object{
			{"type": []string{"integer", "null"}, "minimum": 0},
			{"type": "string", "pattern": `^\s*[0-9]+(\.[0-9]+)?\s*([KMGTPkmgtp]([iI]?[bB])?|[bB])?\s*$`}}},
		"duration": object{"description": "a number with a unit: 30s, 1m30s", "anyOf": []object{
			{"type": "null"}, {"const": 0}, {"type": "string", "pattern": `^[-+]?(0|([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+$`}}},
	}
	root := object{
		"$schema": "https://json-schema.org/draft/2020-12/schema",
		"$id":     "https://raw.githubusercontent.com/maqet/maqet/main/maqet.schema.json",
		"title":   "A maqet virtual machine",
		"$defs":   defs,
	}
	for _, s := range sections {
		shape := mapping(s)
		if s.Place == "" {
			pythonKeys(shape["properties"].(object))
			for k, v := range shape {
				root[k] = v
			}
			continue
		}
		defs[s.Type.Name()] = shape
	}
	out, err := json.MarshalIndent(root, "", "  ")
	return append(out, '\n'), err
}

func mapping(s Section) object {
	properties := object{}
	for _, k := range s.Keys {
		properties[k.Name] = property(k)
	}
	if strings.HasSuffix(s.Place, "[]") && (properties["name"] != nil || properties["id"] != nil) {
		properties["remove"] = object{"type": "boolean", "description": "true removes what an earlier file has by this name"}
	}
	return object{"type": []string{"object", "null"}, "description": s.Comment, "additionalProperties": false, "properties": properties}
}

func property(k Key) object {
	p := shape(k.Type)
	if k.Words != nil {
		p = object{"enum": orNull(k.Words)}
		if _, err := strconv.ParseFloat(k.Words[0], 64); err == nil {
			p = object{"anyOf": []object{p, {"type": "number"}}}
		}
	}
	switch k.Place {
	case "cpu": // the number of CPUs, in short
		p = object{"anyOf": []object{{"type": "integer"}, p}}
	case "display": // as the Python maqet has it
		p = object{"anyOf": []object{{"const": "none"}, p}}
	}
	description := strings.TrimSpace(k.Comment + " Default: " + k.Default + ".")
	p["description"] = strings.ReplaceAll(description, "`", "")
	return p
}

func orNull(words []string) []any {
	out := []any{}
	for _, w := range words {
		out = append(out, w)
	}
	return append(out, nil)
}

// shape is the schema of a type.
func shape(t reflect.Type) object {
	switch t {
	case reflect.TypeFor[vm.Size]():
		return object{"$ref": "#/$defs/size"}
	case reflect.TypeFor[vm.Duration]():
		return object{"$ref": "#/$defs/duration"}
	}
	switch t.Kind() {
	case reflect.Pointer:
		return shape(t.Elem())
	case reflect.Struct:
		return object{"$ref": "#/$defs/" + t.Name()}
	case reflect.Slice:
		return object{"type": []string{"array", "null"}, "items": shape(t.Elem())}
	case reflect.Map:
		if t.Elem().Kind() == reflect.Interface {
			return object{"type": []string{"object", "null"}}
		}
		return object{"type": []string{"object", "null"}, "additionalProperties": shape(t.Elem())}
	case reflect.Bool:
		return object{"type": []string{"boolean", "null"}}
	case reflect.String:
		return object{"$ref": "#/$defs/text"}
	case reflect.Uint32:
		return object{"type": []string{"integer", "null"}, "minimum": 0, "maximum": uint32(math.MaxUint32)}
	default:
		return object{"type": []string{"integer", "null"}}
	}
}

// pythonKeys adds the keys of files that were written for the Python maqet.
func pythonKeys(properties object) {
	for name, say := range map[string]string{"storage": "disks and shares", "arguments": "the keys that say the same, and args", "vga": "display.adapter"} {
		properties[name] = object{"deprecated": true, "description": "For files of the Python maqet. Use " + say + "."}
	}
}
