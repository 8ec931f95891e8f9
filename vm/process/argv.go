package process

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/internal/qemuarg"
)

// argument is one option of QEMU's command line.
type argument struct {
	option string // without the dash
	value  string // as QEMU parses it; empty for options that have none
	bare   bool   // the option takes no value
	// id is what the option names, in the space that its option shares with others:
	// two arguments may not name the same.
	id string
	// field is where in the configuration it comes from, for messages.
	field string
}

// repeatable lists the options that may be given many times, with the space of names
// that each declares into. All others are unique.
var repeatable = map[string]string{
	"device": "device", "netdev": "netdev", "chardev": "chardev", "object": "object",
	"blockdev": "node", "drive": "node", "mon": "mon", "fw_cfg": "fw_cfg", "smbios": "smbios",
	"global": "global",
}

// synonyms lists options that do what another one does: given with it, they collide.
var synonyms = map[string]string{
	"M": "machine", "enable-kvm": "accel", "no-kvm": "accel", "nographic": "display", "watchdog-action": "action",
}

// flag is an option without a value.
func flag(option string) argument { return argument{option: option, bare: true} }

// plain is an option whose value QEMU takes whole, commas and all.
func plain(option, value, field string) argument {
	return argument{option: option, value: value, field: field}
}

// keyed is an option in QEMU's key=value form. pairs are keys and values in turn; an
// empty first key is the value that needs none.
func keyed(option, id, field string, pairs ...string) argument {
	var b strings.Builder
	for i := 0; i+1 < len(pairs); i += 2 {
		if i > 0 {
			b.WriteByte(',')
		}
		if pairs[i] != "" {
			b.WriteString(pairs[i] + "=")
		}
		b.WriteString(qemuarg.Escape(pairs[i+1]))
	}
	return argument{option: option, value: b.String(), id: id, field: field}
}

// props are properties of an object, in JSON form.
type props = qemuarg.Props

// inJSON is an option in JSON form, where no value can end its own quotes. Keys are
// sorted, so that equal configurations have equal command lines.
func inJSON(option, id, field string, p props) (argument, error) {
	text, err := p.JSON()
	if err != nil {
		return argument{}, fmt.Errorf("-%s %s: %w", option, id, err)
	}
	return argument{option: option, value: text, id: id, field: field}, nil
}

// argv renders arguments.
func argv(args []argument) []string {
	out := make([]string, 0, 2*len(args))
	for _, a := range args {
		out = append(out, "-"+a.option)
		if !a.bare {
			out = append(out, a.value)
		}
	}
	return out
}

// parseRaw splits raw arguments of the user into options. QEMU takes one dash or two.
// Which options have values is not known here: a word that starts with a dash counts
// as an option.
func parseRaw(raw []string) []argument {
	var out []argument
	for i, word := range raw {
		name, isOption := strings.CutPrefix(word, "-")
		if isOption && name != "" {
			out = append(out, argument{option: strings.TrimPrefix(name, "-"), field: fmt.Sprintf("args[%d]", i), bare: true})
			continue
		}
		if len(out) > 0 && out[len(out)-1].bare {
			last := &out[len(out)-1]
			last.value, last.bare, last.id = word, false, idOf(word)
		}
	}
	return out
}

// idOf returns the id or node-name that an option's value declares, if it does.
func idOf(value string) string {
	if strings.HasPrefix(value, "{") {
		var named struct {
			ID       string `json:"id"`
			NodeName string `json:"node-name"`
		}
		if json.Unmarshal([]byte(value), &named) != nil {
			return ""
		}
		return named.ID + named.NodeName
	}
	const comma = "\x00" // can't be in an argument
	for pair := range strings.SplitSeq(strings.ReplaceAll(value, ",,", comma), ",") {
		key, name, _ := strings.Cut(pair, "=")
		if key == "id" || key == "node-name" {
			return strings.ReplaceAll(name, comma, ",")
		}
	}
	return ""
}

// collisions reports raw arguments that say again, or otherwise, what generated ones
// say, and names that are used twice.
func collisions(generated, raw []argument) []errors.Problem {
	var problems []errors.Problem
	ids := map[string]argument{}
	claim := func(a argument) {
		space, ok := repeatable[a.option]
		if !ok || a.id == "" {
			return
		}
		key := space + " " + a.id
		if first, taken := ids[key]; taken {
			problems = append(problems, errors.Problem{Field: a.field, Value: shown(a),
				Message: fmt.Sprintf("uses the id %q of %s (%s)", a.id, shown(first), first.field), Fix: "use another id or name"})
			return
		}
		ids[key] = a
	}
	for _, a := range generated {
		claim(a)
	}
	for _, a := range raw {
		if why, no := qemuarg.Refused[a.option]; no {
			problems = append(problems, errors.Problem{Field: a.field, Value: shown(a), Message: "can't be used: " + why, Fix: "remove it"})
			continue
		}
		if g, found := overlap(generated, a); found {
			problems = append(problems, errors.Problem{Field: a.field, Value: shown(a),
				Message: fmt.Sprintf("collides with %s, which maqet generates (%s)", shown(g), g.field), Fix: "use the configuration's own fields"})
			continue
		}
		claim(a)
	}
	return problems
}

// overlap finds the generated argument that leaves no room for a.
func overlap(generated []argument, a argument) (argument, bool) {
	option := a.option
	if same, ok := synonyms[option]; ok {
		option = same
	} else if _, many := repeatable[option]; many {
		return argument{}, false
	}
	i := slices.IndexFunc(generated, func(g argument) bool { return g.option == option })
	if i < 0 {
		return argument{}, false
	}
	return generated[i], true
}

// shown is how an argument appears in messages.
func shown(a argument) string {
	if a.bare {
		return "-" + a.option
	}
	return "-" + a.option + " " + a.value
}
