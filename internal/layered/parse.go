package layered

import (
	"bytes"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"

	"github.com/maqet/maqet/errors"
)

// What a file may hold. The limits are far above what people write, and keep a hostile
// file from costing more than about a second.
const (
	MaxBytes = 1 << 20
	MaxDepth = 32
	MaxNodes = 10_000 // values, those that aliases repeat included

	maxTokens = 3 * MaxNodes // a value, and what stands around it
)

// Parse reads one YAML document; JSON is YAML, too. The name is for messages. An empty
// document is an empty Map. Numbers, booleans and null are those of YAML 1.2's core schema:
// on, yes and the like are texts. When there are problems, the tree is not complete.
func Parse(name, dir string, data []byte) (*Node, []errors.Problem) {
	src := &Source{Name: name, Dir: dir}
	if len(data) > MaxBytes {
		return nil, []errors.Problem{{File: name, Message: "is larger than 1 MiB", Fix: "this can't be a configuration: is it the right file?"}}
	}
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	text := string(data)
	src.lines = strings.Split(text, "\n")
	if problem := src.plainText(text); problem != nil {
		return nil, []errors.Problem{*problem}
	}
	p := &reader{src: src, anchors: map[string]*Node{}}
	body := p.document(text)
	if len(p.problems) > 0 {
		return nil, p.problems
	}
	root := &Node{Kind: Map, Pos: Pos{src, 1, 1}}
	if body != nil {
		root = p.node(body, 1)
	}
	switch {
	case len(p.problems) > 0:
	case root.Kind == Null:
		root = NewMap(root.Pos)
	case root.Kind != Map:
		p.add(root.Pos, "the file holds "+describe(root)+", not keys and values", "write lines such as memory: 512M")
	}
	return root, p.problems
}

// plainText refuses what is no text at all, at its first bad character.
func (s *Source) plainText(text string) *errors.Problem {
	at := strings.IndexFunc(text, func(r rune) bool {
		return r == utf8.RuneError || r < ' ' && r != '\n' && r != '\r' && r != '\t' || r == 0x7f
	})
	if at < 0 {
		return nil
	}
	before := text[:at]
	pos := Pos{s, strings.Count(before, "\n") + 1, utf8.RuneCountInString(before[strings.LastIndexByte(before, '\n')+1:]) + 1}
	message, fix := "has a control character", `remove it, or write it as "\x00" with its number, in double quotes`
	if strings.HasPrefix(text[at:], string(utf8.RuneError)) || !utf8.ValidString(text[at:min(len(text), at+4)]) {
		message, fix = "is not UTF-8 text", "save the file as UTF-8; is it the right file?"
	}
	problem := pos.Problem("", "", message, fix)
	return &problem
}

// reader makes nodes of a syntax tree.
type reader struct {
	src      *Source
	anchors  map[string]*Node
	nodes    int
	full     bool // a limit was passed, which is said once
	problems []errors.Problem
}

func (r *reader) add(at Pos, message, fix string) {
	r.problems = append(r.problems, at.Problem("", "", message, fix))
}

// limit adds a problem of a limit, and ends the reading.
func (r *reader) limit(at Pos, message, fix string) {
	if !r.full {
		r.add(at, message, fix)
	}
	r.full = true
}

// document returns the body of the only document; nil if it is empty.
func (r *reader) document(text string) ast.Node {
	tokens := lexer.Tokenize(text)
	if !r.withinLimits(tokens) {
		return nil
	}
	file, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		r.syntax(err)
		return nil
	}
	var body ast.Node
	for _, doc := range file.Docs {
		if _, isDirective := doc.Body.(*ast.DirectiveNode); isDirective || doc.Body == nil {
			continue
		}
		if body != nil {
			r.add(r.pos(doc.Body), "a second document begins here", "keep one document a file: remove the line ---, or move what follows to a file of its own")
			return nil
		}
		body = doc.Body
	}
	return body
}

// withinLimits looks at the tokens before the parser does, which calls itself for each
// level of brackets and takes time that grows with the square of what is in a list.
func (r *reader) withinLimits(tokens token.Tokens) bool {
	depth, count := 0, 0
	for _, t := range tokens {
		switch t.Type {
		case token.CommentType:
			continue
		case token.MappingStartType, token.SequenceStartType:
			depth++
		case token.MappingEndType, token.SequenceEndType:
			depth--
		}
		count++
		if depth > MaxDepth {
			r.deep(r.at(t))
			return false
		}
		if count > maxTokens {
			r.many(r.at(t))
			return false
		}
	}
	return true
}

func (r *reader) deep(at Pos) {
	r.limit(at, fmt.Sprintf("is nested more than %d levels deep", MaxDepth), "no configuration is: check the brackets and the indentation")
}

func (r *reader) many(at Pos) {
	r.limit(at, fmt.Sprintf("the file holds more than %d values, those that aliases repeat included", MaxNodes), "split it, and repeat less with aliases")
}

// syntax reports what the parser could not read.
func (r *reader) syntax(err error) {
	var bad yaml.Error
	if !errors.As(err, &bad) || bad.GetToken() == nil {
		r.add(Pos{r.src, 1, 1}, "is not YAML: "+err.Error(), "")
		return
	}
	at := r.at(bad.GetToken())
	r.add(at, "is not YAML: "+bad.GetMessage(), r.syntaxFix(at))
}

// syntaxFix guesses from the line what may be meant.
func (r *reader) syntaxFix(at Pos) string {
	line := at.line()
	indent := line[:len(line)-len(strings.TrimLeft(line, " \t"))]
	content := strings.TrimLeft(strings.TrimSpace(line), "- ")
	inBrackets := strings.HasPrefix(content, "{") || strings.HasPrefix(content, "[")
	_, value, _ := strings.Cut(content, ": ")
	switch value = strings.TrimSpace(value); {
	case strings.Contains(line, "${") && (inBrackets || strings.HasPrefix(value, "{") || strings.HasPrefix(value, "[")):
		return "put a value that has ${...} in quotes: inside { } and [ ] its braces end the mapping"
	case strings.Contains(indent, "\t"):
		return "indent with spaces: YAML does not take tabs"
	case strings.HasPrefix(value, "@") || strings.HasPrefix(value, "`") || strings.HasPrefix(value, "%"):
		return "put the value in quotes: it begins with a character that YAML reserves"
	case strings.Contains(value, ": ") && !inBrackets && !strings.ContainsAny(value[:1], `"'[{`):
		return "put the value in quotes: it has a colon and a space"
	}
	return "check the quotes, brackets and indentation here and in the line above"
}

func (r *reader) at(t *token.Token) Pos {
	if t == nil || t.Position == nil {
		return Pos{r.src, 1, 1}
	}
	return Pos{r.src, t.Position.Line, t.Position.Column}
}

// pos is where a node begins: the token of a block mapping is its first colon.
func (r *reader) pos(n ast.Node) Pos {
	switch n := n.(type) {
	case *ast.MappingNode:
		if !n.IsFlowStyle && len(n.Values) > 0 {
			return r.pos(n.Values[0].Key)
		}
	case *ast.MappingValueNode:
		return r.pos(n.Key)
	}
	return r.at(n.GetToken())
}
