package qmp

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/maqet/maqet/errors"
)

// request is a command that was checked and whose arguments are marshalled.
type request struct {
	command string
	args    []byte // a JSON object, or nil for none
	id      uint64 // 0: the reply is found by its order
	oob     bool   // out of band; only with an id
}

func newRequest(command string, args any) (request, error) {
	if !validCommand(command) {
		return request{}, &errors.Error{
			Kind: errors.ErrQMP, Op: "QMP command",
			Msg:  strconv.Quote(shorten(command)) + " is not the name of a command",
			Hint: "names are lower-case words, such as query-status",
		}
	}
	data, err := marshalArgs(args)
	if err != nil {
		return request{}, &errors.Error{Kind: errors.ErrQMP, Op: "QMP " + command, Msg: "arguments", Err: err}
	}
	return request{command: command, args: data}, nil
}

// append adds the request in its wire form to buf. It is as short as it can be: QEMU
// 7.2 reads its monitor byte by byte, about 5 us each. The newline costs nothing,
// because QEMU acts on the closing brace.
func (r request) append(buf []byte) []byte {
	verb := `{"execute":"`
	if r.oob {
		verb = `{"exec-oob":"`
	}
	buf = append(buf, verb...)
	buf = append(buf, r.command...)
	buf = append(buf, '"')
	if r.args != nil {
		buf = append(buf, `,"arguments":`...)
		buf = append(buf, r.args...)
	}
	if r.id != 0 {
		buf = append(buf, `,"id":`...)
		buf = strconv.AppendUint(buf, r.id, 10)
	}
	return append(buf, '}', '\n')
}

// marshalArgs returns args as a JSON object, nil when it has no members.
func marshalArgs(args any) ([]byte, error) {
	if args == nil {
		return nil, nil
	}
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false) // six bytes for each of <, > and & otherwise
	if err := enc.Encode(args); err != nil {
		return nil, err
	}
	data := bytes.TrimSpace(buf.Bytes())
	switch {
	case string(data) == "null" || string(data) == "{}":
		return nil, nil
	case data[0] != '{':
		return nil, fmt.Errorf("%T marshals to %s, not to a JSON object", args, excerpt(data))
	}
	return data, nil
}

// validCommand reports whether name is a command's name:
// ^(__[a-z0-9.-]+_)?[a-z][a-z0-9_-]*$ (QEMU, docs/devel/qapi-code-gen, "Naming rules").
// Names go into the request as they are, so nothing else may pass.
func validCommand(name string) bool {
	if vendor, ok := strings.CutPrefix(name, "__"); ok {
		prefix, rest, found := strings.Cut(vendor, "_")
		if !found || prefix == "" || strings.IndexFunc(prefix, notVendorRune) >= 0 {
			return false
		}
		name = rest
	}
	if name == "" || name[0] < 'a' || name[0] > 'z' {
		return false
	}
	for i := range len(name) {
		if c := name[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' && c != '-' {
			return false
		}
	}
	return true
}

func notVendorRune(r rune) bool {
	return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '.' && r != '-'
}

func shorten(s string) string {
	if len(s) > 80 {
		return s[:77] + "..."
	}
	return s
}
