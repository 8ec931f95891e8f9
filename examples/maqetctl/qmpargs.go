package main

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"github.com/maqet/maqet/qmp"
)

// pairArguments makes a command's arguments of KEY=VALUE pairs.
func pairArguments(schema *qmp.Schema, command string, pairs []string) (map[string]any, error) {
	args := map[string]any{}
	for _, pair := range pairs {
		key, text, ok := strings.Cut(pair, "=")
		if !ok || key == "" {
			return nil, usagef("%q is not KEY=VALUE", pair)
		}
		var value any
		var err error
		if raw, isRaw := strings.CutSuffix(key, ":"); isRaw {
			key = raw
			value, err = rawValue(key, text)
		} else {
			value, err = typedValue(key, text, schema.TypesOf(command, key))
		}
		if err != nil {
			return nil, err
		}
		if err := put(args, strings.Split(key, "."), value); err != nil {
			return nil, err
		}
	}
	return args, nil
}

// put sets a member of a member.
func put(args map[string]any, path []string, value any) error {
	for _, name := range path[:len(path)-1] {
		inner, there := args[name]
		if !there {
			inner = map[string]any{}
			args[name] = inner
		}
		object, ok := inner.(map[string]any)
		if !ok {
			return usagef("%s is a value, and has no %s", name, path[len(path)-1])
		}
		args = object
	}
	last := path[len(path)-1]
	if _, there := args[last]; there {
		return usagef("%s is given twice", strings.Join(path, "."))
	}
	args[last] = value
	return nil
}

func rawValue(key, text string) (any, error) {
	if !json.Valid([]byte(text)) {
		return nil, usagef("%s:=%s is not JSON", key, text)
	}
	return json.RawMessage(text), nil
}

// typedValue reads text as one of the types, the narrowest first. Where nothing is known,
// as of a device's properties, a number and a truth value are what they look like.
func typedValue(key, text string, types []string) (any, error) {
	anything := len(types) == 0 || slices.Contains(types, "any")
	may := func(t string) bool { return anything || slices.Contains(types, t) }
	if may("int") {
		if n, err := strconv.ParseInt(text, 0, 64); err == nil {
			return n, nil
		}
		if n, err := strconv.ParseUint(text, 0, 64); err == nil {
			return n, nil
		}
	}
	if may("number") {
		if n, err := strconv.ParseFloat(text, 64); err == nil {
			return n, nil
		}
	}
	if may("bool") {
		switch text {
		case "true", "on":
			return true, nil
		case "false", "off":
			return false, nil
		}
	}
	if may("null") && text == "null" {
		return nil, nil
	}
	if may("str") {
		return text, nil
	}
	if (may("object") || may("array")) && json.Valid([]byte(text)) {
		return json.RawMessage(text), nil
	}
	return nil, usagef("%s=%s: it takes %s", key, text, strings.Join(types, " or "))
}
