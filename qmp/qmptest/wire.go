package qmptest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/maqet/maqet/errors"
)

// mark makes QEMU's parser forget what it has; a guest agent's answer to
// guest-sync-delimited starts with it (QEMU Guest Agent Protocol Reference).
const mark = 0xFF

// cutter cuts a stream into JSON values. As in QEMU, a value ends with its closing
// brace, whether or not a line does.
type cutter struct {
	value   []byte
	depth   int
	quoted  bool
	escaped bool
}

// inside reports whether a value has begun and not ended.
func (c *cutter) inside() bool { return len(c.value) > 0 }

// feed returns the values that end in chunk.
func (c *cutter) feed(chunk []byte) (values [][]byte) {
	take := func() {
		if c.inside() {
			values = append(values, c.value)
		}
		*c = cutter{}
	}
	for _, b := range chunk {
		switch {
		case b == mark:
			c.value = []byte{mark}
			take()
			continue
		case c.depth > 0:
		case b == ' ' || b == '\t' || b == '\r' || b == '\n':
			take()
			continue
		case b == '{' || b == '[':
			take() // a word before it
		}
		c.value = append(c.value, b)
		if c.step(b) {
			take()
		}
	}
	return values
}

// step follows strings and braces; true at the end of an object or array.
func (c *cutter) step(b byte) bool {
	switch {
	case c.escaped:
		c.escaped = false
	case c.quoted:
		c.escaped = b == '\\'
		c.quoted = b != '"'
	case b == '"':
		c.quoted = c.depth > 0
	case b == '{' || b == '[':
		c.depth++
	case b == '}' || b == ']':
		c.depth--
		return c.depth <= 0
	}
	return false
}

// parseRequest returns the request that value is, or what QEMU 7.2 answers when it is
// none, with the id that goes into that answer.
func parseRequest(value []byte, oob bool) (Request, error) {
	if !json.Valid(value) {
		return Request{}, generic("JSON parse error, invalid keyword '%s'", bytes.ToValidUTF8(value[:min(len(value), 40)], []byte("?")))
	}
	var members map[string]json.RawMessage
	if json.Unmarshal(value, &members) != nil || members == nil {
		return Request{}, generic("QMP input must be a JSON object")
	}
	r := Request{ID: members["id"]}
	for name, member := range members {
		switch {
		case name == "execute" || name == "exec-oob" && oob:
			if r.Command != "" || json.Unmarshal(member, &r.Command) != nil {
				return r, generic("QMP input member '%s' must be a string", name)
			}
			r.OOB = name == "exec-oob"
		case name == "arguments":
			if member[0] != '{' {
				return r, generic("QMP input member 'arguments' must be an object")
			}
			r.Arguments = member
		case name == "id":
		default:
			return Request{ID: r.ID}, generic("QMP input member '%s' is unexpected", name)
		}
	}
	if r.Command == "" {
		return r, generic("QMP input lacks member 'execute'")
	}
	return r, nil
}

// Error returns QEMU's error of that class and description, for handlers. Classes are
// GenericError, CommandNotFound, DeviceNotActive, DeviceNotFound and KVMMissingCap
// (QEMU QMP Reference Manual, "QapiErrorClass").
func Error(class, desc string) error { return &errors.QMPError{Class: class, Desc: desc} }

func generic(format string, args ...any) error {
	return Error("GenericError", fmt.Sprintf(format, args...))
}

func (s *Server) lineEnd() string {
	if s.opts.agent {
		return "\n"
	}
	return "\r\n"
}

func (s *Server) greeting() []byte {
	o := s.opts
	capabilities, _ := json.Marshal(append([]string{}, o.capabilities...))
	return fmt.Appendf(nil, `{"QMP": {"version": %s, "capabilities": %s}}`+"\r\n", s.version(), capabilities)
}

func (s *Server) version() json.RawMessage {
	o := s.opts
	pkg, _ := json.Marshal(o.pkg)
	return fmt.Appendf(nil, `{"qemu": {"micro": %d, "minor": %d, "major": %d}, "package": %s}`, o.micro, o.minor, o.major, pkg)
}

func (s *Server) versionText() string {
	return fmt.Sprintf("%d.%d.%d", s.opts.major, s.opts.minor, s.opts.micro)
}

// reply returns the frame that answers r, with its members in QEMU's order.
func (s *Server) reply(r Request, result any, err error) []byte {
	var body []byte
	if err == nil {
		if body, err = value(result); err != nil {
			s.failed("result of "+r.Command, err)
		}
	}
	var frame []byte
	if err == nil {
		if s.opts.agent && r.Command == "guest-sync-delimited" {
			frame = append(frame, mark)
		}
		frame = append(append(frame, `{"return": `...), body...)
		if r.ID != nil {
			frame = append(append(frame, `, "id": `...), r.ID...)
		}
		return append(append(frame, '}'), s.lineEnd()...)
	}
	e := &errors.QMPError{Class: "GenericError", Desc: err.Error()}
	_ = errors.As(err, &e)
	desc, _ := json.Marshal(e.Desc)
	frame = append(frame, '{')
	if r.ID != nil {
		frame = append(append(append(frame, `"id": `...), r.ID...), ", "...)
	}
	frame = fmt.Appendf(frame, `"error": {"class": "%s", "desc": %s}}`, e.Class, desc)
	return append(frame, s.lineEnd()...)
}

// value returns a result's JSON form; nil is the empty object.
func value(result any) ([]byte, error) {
	switch v := result.(type) {
	case nil:
		return []byte("{}"), nil
	case json.RawMessage:
		if !json.Valid(v) {
			return nil, errors.New("not valid JSON: " + strconv.Quote(string(v[:min(len(v), 80)])))
		}
		if bytes.ContainsAny(v, "\r\n") { // a frame is one line
			return json.Marshal(v)
		}
		return v, nil
	}
	return json.Marshal(result)
}

// event returns an event's frame.
func event(name string, data []byte) []byte {
	now := time.Now()
	frame := fmt.Appendf(nil, `{"timestamp": {"seconds": %d, "microseconds": %d}, "event": %q`, now.Unix(), now.Nanosecond()/1000, name)
	if data != nil {
		frame = append(append(frame, `, "data": `...), data...)
	}
	return append(frame, "}\r\n"...)
}

// Emit sends an event to every client whose handshake is done, and returns when it is
// written. data is nil for none, or marshals to a JSON object. It waits for clients that
// don't read. Guest agents have no events.
func (s *Server) Emit(name string, data any) {
	var body []byte
	if data != nil {
		var err error
		if body, err = value(data); err != nil {
			s.failed("data of "+name, err)
			return
		}
	}
	frame := event(name, body)
	for _, l := range s.open() {
		if l.agreed.Load() && !s.opts.agent {
			l.write(frame)
		}
	}
}
