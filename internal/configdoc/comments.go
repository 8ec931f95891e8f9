package configdoc

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// comments has the comments of a package's types by "Type", and of their fields by
// "Type.Field".
func comments(dir string) (map[string]string, error) {
	out := map[string]string{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".go") || strings.HasSuffix(e.Name(), "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(dir, e.Name()), nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		for _, decl := range file.Decls {
			if gen, ok := decl.(*ast.GenDecl); ok {
				collect(gen, out)
			}
		}
	}
	return out, nil
}

func collect(decl *ast.GenDecl, out map[string]string) {
	for _, spec := range decl.Specs {
		typ, ok := spec.(*ast.TypeSpec)
		if !ok {
			continue
		}
		doc := typ.Doc
		if doc == nil {
			doc = decl.Doc
		}
		out[typ.Name.Name] = oneLine(doc.Text())
		structure, ok := typ.Type.(*ast.StructType)
		if !ok {
			continue
		}
		for _, f := range structure.Fields.List {
			text := f.Doc.Text() + f.Comment.Text()
			for _, name := range f.Names {
				out[typ.Name.Name+"."+name.Name] = oneLine(text)
			}
		}
	}
}

var spaces = regexp.MustCompile(`\s+`)

// oneLine returns a comment as one paragraph, which ends with a full stop.
func oneLine(text string) string {
	text = strings.TrimSpace(spaces.ReplaceAllString(text, " "))
	if text != "" && !strings.HasSuffix(text, ".") {
		text += "."
	}
	return text
}

// alternatives returns the words that a comment lists as the only ones: `is "a" (the
// default), "b" or "c".` A list that goes on with something else is open, and gives none.
func alternatives(comment string) []string {
	rest := comment
	var words []string
	last := false // "or" was read
	for {
		start := strings.IndexByte(rest, '"')
		if start < 0 || len(words) > 0 && start > 0 || strings.HasSuffix(rest[:max(start, 0)], "with ") {
			return nil
		}
		end := strings.IndexByte(rest[start+1:], '"')
		if end < 0 {
			return nil
		}
		words = append(words, rest[start+1:start+1+end])
		rest = afterParentheses(strings.TrimLeft(rest[start+end+2:], " "))
		switch {
		case strings.HasPrefix(rest, ", "):
			rest = rest[2:]
		case strings.HasPrefix(rest, "or "):
			rest, last = rest[3:], true
		case last && (strings.HasPrefix(rest, ".") || strings.HasPrefix(rest, ";")):
			return words
		default:
			return nil
		}
	}
}

// afterParentheses skips one remark in parentheses.
func afterParentheses(text string) string {
	if !strings.HasPrefix(text, "(") {
		return text
	}
	_, rest, _ := strings.Cut(text, ")")
	return strings.TrimLeft(rest, " ")
}

var (
	emptyMeans  = regexp.MustCompile(`(?:^|[ ;])(?:Empty|empty|0|none)(?:, [^:]*)?: ([^;]+?)(?:[.;](?: |$)|$)`)
	theDefault  = regexp.MustCompile(`("[^"]*")[^".;]*\((?:the )?default`)
	isDefault   = regexp.MustCompile(`as ("[^"]*"), which is the default`)
	stated      = regexp.MustCompile(`: ([0-9]+ s)\.$`)
	followsText = regexp.MustCompile(`The default follows [^:]*: ([^.]*)\.`)
)

// byDefault returns what a comment says of a value that is left out.
func byDefault(comment string) string {
	const dots = "\u2026" // does not end a sentence
	comment = strings.ReplaceAll(comment, "...", dots)
	for _, form := range []*regexp.Regexp{theDefault, isDefault, emptyMeans, stated, followsText} {
		if m := form.FindStringSubmatch(comment); m != nil {
			return strings.ReplaceAll(m[1], dots, "...")
		}
	}
	return ""
}
