package main

// maxMessage is the largest request in bytes; guest-file-write carries base64
// in one.
const maxMessage = 64 << 20

// splitter cuts a byte stream into JSON objects, which the guest agent's
// protocol does not delimit.
type splitter struct {
	message []byte
	depth   int
	quoted  bool // inside a string
	escaped bool // behind a backslash
	skip    bool // the rest of the line can't be a request
}

func (s *splitter) reset() { *s = splitter{} }

// next consumes bytes up to the end of a request; message is nil when p ends
// before it does. An error stands for a request that could not be made out.
func (s *splitter) next(p []byte) (message, rest []byte, err error) {
	for i, c := range p {
		if c == sentinel {
			s.reset()
			return nil, p[i+1:], nil
		}
		if s.depth == 0 && c != '{' {
			if bad := s.between(c); bad {
				return nil, p[i+1:], errGeneric("JSON parse error, an object is expected")
			}
			continue
		}
		if s.skip {
			continue
		}
		s.message = append(s.message, c)
		if s.inside(c) {
			message = s.message
			s.reset()
			return message, p[i+1:], nil
		}
		if len(s.message) > maxMessage {
			s.reset()
			s.skip = true
			return nil, p[i+1:], errGeneric("JSON parse error, the request is too large")
		}
	}
	return nil, nil, nil
}

// between takes a byte outside of any object; it returns true for the first of
// a line that makes no sense.
func (s *splitter) between(c byte) bool {
	switch c {
	case '\n':
		s.skip = false
	case ' ', '\t', '\r':
	default:
		first := !s.skip
		s.skip = true
		return first
	}
	return false
}

// inside takes a byte of an object; it returns true for its last.
func (s *splitter) inside(c byte) bool {
	switch {
	case s.escaped:
		s.escaped = false
	case s.quoted:
		s.escaped = c == '\\'
		s.quoted = c != '"'
	case c == '"':
		s.quoted = true
	case c == '{':
		s.depth++
	case c == '}':
		s.depth--
	}
	return s.depth == 0
}
