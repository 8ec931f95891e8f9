package vm

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// notPaths are fields whose comments speak of paths, and which hold none of the host.
var notPaths = map[string]string{
	"shares[].mount":          "in the guest",
	"shares[].security":       "names of QEMU",
	"cloud_init.files[].path": "in the guest",
	"cloud_init.files[].text": "a text",
	"disks[].format":          "a word",
	"disks[].media":           "a word",
	"disks[].discard":         "a word",
	"generation_id":           "a UUID",
	"fw_cfg[].text":           "a text",
	"networks[].segment":      "a name; the folder is maqet's",
	"display.type":            "a word; the socket is maqet's",
}

// places lists every field of a Config by the names that rules use, with its comment.
func places(t *testing.T) map[string]string {
	comments := fieldComments(t)
	out := map[string]string{}
	var walk func(place string, typ reflect.Type)
	walk = func(place string, typ reflect.Type) {
		switch typ.Kind() {
		case reflect.Pointer:
			walk(place, typ.Elem())
		case reflect.Slice:
			walk(place+"[]", typ.Elem())
		case reflect.Map:
			walk(place+"{}", typ.Elem())
		case reflect.Struct:
			for i := range typ.NumField() {
				key, _, _ := strings.Cut(typ.Field(i).Tag.Get("yaml"), ",")
				below := strings.TrimPrefix(place+"."+key, ".")
				out[below] = comments[typ.Name()+"."+typ.Field(i).Name]
				walk(below, typ.Field(i).Type)
			}
		case reflect.String:
			if _, known := out[place]; !known {
				out[place] = out[strings.TrimRight(place, "[]{}")]
			}
		}
	}
	walk("", reflect.TypeFor[Config]())
	return out
}

// fieldComments has the comments of this package's structs, by "Type.Field".
func fieldComments(t *testing.T) map[string]string {
	out := map[string]string{}
	entries, err := os.ReadDir(".")
	require.NoError(t, err)
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".go") || strings.HasSuffix(e.Name(), "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), e.Name(), nil, parser.ParseComments)
		require.NoError(t, err)
		ast.Inspect(file, func(n ast.Node) bool {
			spec, ok := n.(*ast.TypeSpec)
			if !ok {
				return true
			}
			if s, ok := spec.Type.(*ast.StructType); ok {
				for _, f := range s.Fields.List {
					for _, name := range f.Names {
						out[spec.Name.Name+"."+name.Name] = f.Doc.Text() + f.Comment.Text()
					}
				}
			}
			return true
		})
	}
	return out
}

// TestPathFields: the table has fields that exist and hold texts, and every field whose
// comment speaks of a path, a folder or an image is in it, or is known to be none.
func TestPathFields(t *testing.T) {
	known := places(t)
	for place := range pathFields {
		require.Contains(t, known, place)
	}
	for place := range notPaths {
		require.Contains(t, known, place)
		require.NotContains(t, pathFields, place)
	}
	typed := typesOf("", reflect.TypeFor[Config](), map[string]reflect.Kind{})
	speaks := regexp.MustCompile(`(?i)\b(path|folder|image)\b`)
	for place, comment := range known {
		if typed[place] != reflect.String || !speaks.MatchString(comment) {
			require.False(t, typed[place] != reflect.String && hasPath(place), "%s is no text", place)
			continue
		}
		_, isNone := notPaths[place]
		require.True(t, isNone || hasPath(place), "%s: is it a path? put it in pathFields or notPaths: %s", place, comment)
	}
}

func hasPath(place string) bool {
	_, ok := pathFields[place]
	return ok
}

// typesOf has the kind of each place that is no struct.
func typesOf(place string, typ reflect.Type, out map[string]reflect.Kind) map[string]reflect.Kind {
	switch typ.Kind() {
	case reflect.Pointer:
		return typesOf(place, typ.Elem(), out)
	case reflect.Slice:
		return typesOf(place+"[]", typ.Elem(), out)
	case reflect.Map:
		return typesOf(place+"{}", typ.Elem(), out)
	case reflect.Struct:
		for i := range typ.NumField() {
			key, _, _ := strings.Cut(typ.Field(i).Tag.Get("yaml"), ",")
			typesOf(strings.TrimPrefix(place+"."+key, "."), typ.Field(i).Type, out)
		}
	default:
		out[place] = typ.Kind()
	}
	return out
}

// TestNamedLists: every list of a Config whose items have a name or an ID merges by it.
func TestNamedLists(t *testing.T) {
	known := places(t)
	for place, key := range namedLists {
		require.Contains(t, known, place+"[]."+key)
	}
	for place := range known {
		list, name, _ := strings.Cut(place, "[].")
		if name == "name" || name == "id" {
			require.Equal(t, name, namedLists[list], "%s", place)
		}
	}
}

// TestHints: keys that hints speak of do not exist, and forms are of places that do.
func TestHints(t *testing.T) {
	known := places(t)
	for place := range loadHints.Keys {
		require.NotContains(t, known, place)
	}
	for place := range loadHints.Forms {
		require.Contains(t, known, strings.TrimSuffix(place, "[]"))
	}
}

// TestTagsAgree: JSON and YAML have the same keys.
func TestTagsAgree(t *testing.T) {
	var walk func(typ reflect.Type)
	walk = func(typ reflect.Type) {
		switch typ.Kind() {
		case reflect.Pointer, reflect.Slice, reflect.Map:
			walk(typ.Elem())
		case reflect.Struct:
			for i := range typ.NumField() {
				f := typ.Field(i)
				inYAML, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
				inJSON, _, _ := strings.Cut(f.Tag.Get("json"), ",")
				require.NotEmpty(t, inYAML, "%s.%s", typ, f.Name)
				require.Equal(t, inYAML, inJSON, "%s.%s", typ, f.Name)
				require.Regexp(t, `^[a-z0-9_]+$`, inYAML)
				walk(f.Type)
			}
		}
	}
	walk(reflect.TypeFor[Config]())
}
