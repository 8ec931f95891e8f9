package layered

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// PathRule says which values of a key are paths.
type PathRule struct {
	// Except are words that are no paths: "auto".
	Except []string
	// Slash says that only what has a slash is a path. Other values are names.
	Slash bool
}

// path makes a path absolute: ~ is the user's home, ${NAME} a declared variable, and what is
// relative is relative to the file that says it.
func (a *arranging) path(n *Node, rule PathRule) {
	text, isText := n.Value.(string)
	if !isText || text == "" || slices.Contains(rule.Except, text) {
		return
	}
	expanded, message, fix := expand(text, a.vars)
	if message != "" {
		a.problems = append(a.problems, n.Pos.Problem(a.at.field(), text, message, fix))
		return
	}
	if rule.Slash && !strings.ContainsRune(expanded, '/') {
		n.Value, n.Text = expanded, expanded
		return
	}
	expanded = n.Pos.absolute(expanded)
	n.Value, n.Text = expanded, expanded
}

// expand replaces a leading ~ and each ${NAME}; "$${" stands for "${". What a variable holds
// is not expanded again. A message says what is wrong.
func expand(text string, vars map[string]string) (expanded, message, fix string) {
	home := ""
	if rest, ok := strings.CutPrefix(text, "~"); ok {
		if rest != "" && rest[0] != '/' {
			return "", "names the home of another user", "write the folder out, or ./~ for a file whose name begins so"
		}
		dir, err := os.UserHomeDir()
		if err != nil {
			return "", "has ~, but this user's home is not known", "set HOME, or write the folder out"
		}
		home, text = dir, rest
	}
	var b strings.Builder
	b.WriteString(home)
	for {
		before, rest, found := strings.Cut(text, "${")
		if !found {
			b.WriteString(text)
			return b.String(), "", ""
		}
		if escaped, ok := strings.CutSuffix(before, "$"); ok {
			b.WriteString(escaped + "${")
			text = rest
			continue
		}
		name, after, closed := strings.Cut(rest, "}")
		value, declared := vars[name]
		switch {
		case !closed:
			return "", "has ${ without }", "write ${NAME}, or $${ for these two characters themselves"
		case !declared:
			return "", fmt.Sprintf("uses the variable %s, which is not declared", name), declare(name, vars)
		}
		b.WriteString(before + value)
		text = after
	}
}

func declare(name string, vars map[string]string) string {
	names := slices.Sorted(maps.Keys(vars))
	if near := Nearest(name, names); near != "" {
		return fmt.Sprintf("did you mean ${%s}?", near)
	}
	if len(names) > 0 {
		return "declared are " + strings.Join(names, ", ") + "; the environment is not looked at"
	}
	return "declare it where the file is loaded (LoadOptions.Vars): the environment is not looked at"
}

// Resolve returns the path that Arrange will make of n, "" if it can't.
func (a *Arranger) Resolve(n *Node) string {
	expanded, message, _ := expand(n.Text, a.vars)
	if message != "" {
		return ""
	}
	return n.Pos.absolute(expanded)
}

// absolute makes a path absolute that is relative to the file. One that leads out of the
// file's folder does so as in a shell that is there: what is above a folder that is a
// symbolic link is above what it points to.
func (p Pos) absolute(path string) string {
	if path == "" || filepath.IsAbs(path) || p.Source == nil {
		return path
	}
	dir := p.Source.Dir
	if !filepath.IsLocal(path) {
		if real, err := filepath.EvalSymlinks(dir); err == nil {
			dir = real
		}
	}
	return filepath.Join(dir, path)
}
