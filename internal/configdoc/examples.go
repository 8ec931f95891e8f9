package configdoc

import (
	"os"
	"strings"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/internal/layered"
)

// examples has, for each place in a configuration file, the first value there as a line of
// YAML.
func examples(path string) (map[string]string, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	root, problems := layered.Parse(path, "/", data)
	if len(problems) > 0 {
		return nil, &errors.ConfigError{Problems: problems}
	}
	out := map[string]string{}
	collectExamples(root, "", out)
	return out, nil
}

func collectExamples(n *layered.Node, place string, out map[string]string) {
	for _, e := range n.Entries {
		below := layered.Join(place, e.Key)
		if _, known := out[below]; !known {
			out[below] = e.Key + ": " + inline(e.Value, 0)
		}
		collectExamples(e.Value, below, out)
	}
	for _, item := range n.Items() {
		collectExamples(item, place+"[]", out)
	}
}

// inline writes a value on one line. Of a mapping in a mapping it shows the first keys only.
func inline(n *layered.Node, depth int) string {
	var parts []string
	switch n.Kind {
	case layered.Map:
		for i, e := range n.Entries {
			if depth > 0 && i == 2 {
				break
			}
			if depth == 0 && i == 3 {
				break
			}
			parts = append(parts, e.Key+": "+inline(e.Value, depth+1))
		}
		return "{" + strings.Join(parts, ", ") + "}"
	case layered.List:
		for _, item := range n.Items() {
			parts = append(parts, inline(item, depth+1))
			if item.Kind == layered.Map {
				break
			}
		}
		return "[" + strings.Join(parts, ", ") + "]"
	}
	if text, isText := n.Value.(string); isText && (layered.LooksTyped(text) || strings.ContainsAny(text, ",[]{}#\"'") || strings.Contains(text, ": ")) {
		return `"` + text + `"`
	}
	return n.Text
}
