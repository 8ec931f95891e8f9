package qmp

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"time"
)

const (
	readBuffer = 64 << 10
	// keepBuffer is how much of the memory for long frames is kept for the next one.
	keepBuffer = 1 << 20
	// defaultFrameLimit bounds a frame; the longest known, query-qmp-schema's, has 0.2 MiB.
	defaultFrameLimit = 64 << 20
)

// frameReader cuts a stream into frames: one JSON object a line (QMP specification,
// "Server Greeting": messages end with CRLF). It holds at most limit bytes of a frame.
type frameReader struct {
	r     *bufio.Reader
	limit int
	long  []byte // a frame that does not fit into r's buffer
}

func newFrameReader(r io.Reader, limit int) *frameReader {
	return &frameReader{r: bufio.NewReaderSize(r, readBuffer), limit: limit}
}

// next returns the next line that is not blank, without its end; it is valid until the
// following call. A stream that ends inside a line is io.ErrUnexpectedEOF, between
// lines io.EOF.
func (f *frameReader) next() ([]byte, error) {
	for {
		line, err := f.line()
		if err != nil {
			return nil, err
		}
		if line = bytes.TrimSpace(line); len(line) > 0 {
			return line, nil
		}
	}
}

func (f *frameReader) line() ([]byte, error) {
	if cap(f.long) > keepBuffer {
		f.long = nil
	}
	f.long = f.long[:0]
	for {
		part, err := f.r.ReadSlice('\n')
		if len(f.long)+len(part) > f.limit {
			return nil, fmt.Errorf("frame longer than the limit of %d bytes", f.limit)
		}
		if err == nil && len(f.long) == 0 {
			return part, nil
		}
		f.long = append(f.long, part...)
		switch {
		case err == nil:
			return f.long, nil
		case err == bufio.ErrBufferFull:
		case err == io.EOF && len(bytes.TrimSpace(f.long)) > 0:
			return nil, io.ErrUnexpectedEOF
		default:
			return nil, err
		}
	}
}

// skipPast drops everything up to and including the byte mark.
func (f *frameReader) skipPast(mark byte) error {
	for {
		_, err := f.r.ReadSlice(mark)
		if err != bufio.ErrBufferFull {
			return err
		}
	}
}

// message is any frame that QEMU or a guest agent sends (QMP specification, section
// "Protocol Specification"). Exactly one of QMP, Event, Return and Error is set.
type message struct {
	QMP       *greetingBody   `json:"QMP"`
	Event     string          `json:"event"`
	Data      json.RawMessage `json:"data"`
	Timestamp timestamp       `json:"timestamp"`
	Return    json.RawMessage `json:"return"`
	Error     *errorBody      `json:"error"`
	ID        json.RawMessage `json:"id"`

	names map[string]string // of events seen before, so that each is allocated once
}

type timestamp struct {
	Seconds      int64 `json:"seconds"`
	Microseconds int64 `json:"microseconds"`
}

type errorBody struct {
	Class string `json:"class"`
	Desc  string `json:"desc"`
}

type greetingBody struct {
	Version struct {
		QEMU struct {
			Major int `json:"major"`
			Minor int `json:"minor"`
			Micro int `json:"micro"`
		} `json:"qemu"`
		Package string `json:"package"`
	} `json:"version"`
	Capabilities []string `json:"capabilities"`

	received time.Time
}

// parse fills m from a frame. What m holds afterwards shares no memory with frame.
func (m *message) parse(frame []byte) error {
	*m = message{names: m.names}
	if m.parseReturn(frame) || m.parseEvent(frame) {
		return nil
	}
	if err := json.Unmarshal(frame, m); err != nil {
		return fmt.Errorf("not a QMP message: %s: %w", excerpt(frame), err)
	}
	if m.QMP == nil && m.Event == "" && m.Return == nil && m.Error == nil {
		return fmt.Errorf("not a QMP message: %s", excerpt(frame))
	}
	return nil
}

// parseReturn is a short cut for the most frequent frame, {"return": VALUE}, which reads
// long replies once instead of three times. If what is between is one valid value, the
// frame has no other member.
func (m *message) parseReturn(frame []byte) bool {
	value, ok := bytes.CutPrefix(frame, []byte(`{"return": `))
	if !ok {
		return false
	}
	value, ok = bytes.CutSuffix(value, []byte("}"))
	if !ok || !json.Valid(value) {
		return false
	}
	m.Return = bytes.Clone(bytes.TrimSpace(value))
	return true
}

// parseEvent is a short cut for events as QEMU writes them:
//
//	{"timestamp": {"seconds": N, "microseconds": N}, "event": "NAME"[, "data": VALUE]}
//
// It takes a fifth of the time that json.Unmarshal does. Any other form of the same is
// left to that.
func (m *message) parseEvent(frame []byte) bool {
	rest, ok := bytes.CutPrefix(frame, []byte(`{"timestamp": {"seconds": `))
	if !ok {
		return false
	}
	seconds, rest, ok1 := cutInt(rest, `, "microseconds": `)
	micros, rest, ok2 := cutInt(rest, `}, "event": "`)
	name, rest, ok3 := bytes.Cut(rest, []byte{'"'})
	if !ok1 || !ok2 || !ok3 || !plainName(name) {
		return false
	}
	if data, has := bytes.CutPrefix(rest, []byte(`, "data": `)); has {
		value, whole := bytes.CutSuffix(data, []byte{'}'})
		if !whole || !json.Valid(value) {
			return false
		}
		m.Data = bytes.Clone(bytes.TrimSpace(value))
	} else if string(rest) != "}" {
		return false
	}
	m.Event, m.Timestamp = m.intern(name), timestamp{seconds, micros}
	return true
}

// cutInt returns the number before the text end, and what follows that.
func cutInt(b []byte, end string) (n int64, rest []byte, ok bool) {
	digits, rest, ok := bytes.Cut(b, []byte(end))
	if !ok || len(digits) == 0 || len(digits) > 18 {
		return 0, nil, false
	}
	for _, c := range digits {
		if c < '0' || c > '9' {
			return 0, nil, false
		}
		n = n*10 + int64(c-'0')
	}
	return n, rest, len(digits) == 1 || digits[0] != '0'
}

// plainName reports whether an event's name needs no unquoting.
func plainName(name []byte) bool {
	for _, c := range name {
		if (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '_' {
			return false
		}
	}
	return len(name) > 0
}

// mostNames bounds the names that are remembered; QEMU 10.0 has 57 events.
const mostNames = 256

func (m *message) intern(name []byte) string {
	if known, ok := m.names[string(name)]; ok {
		return known
	}
	if m.names == nil {
		m.names = map[string]string{}
	}
	if len(m.names) < mostNames {
		m.names[string(name)] = string(name)
	}
	return string(name)
}

// id returns the id of one of this client's requests; 0 for any other id and for none.
func (m *message) id() uint64 {
	if len(m.ID) == 0 {
		return 0
	}
	id, _ := strconv.ParseUint(string(m.ID), 10, 64)
	return id
}

// event returns the event that m is. QEMU sends -1 seconds when it could not read
// the clock.
func (m *message) event() Event {
	e := Event{Name: m.Event, Data: m.Data}
	if m.Timestamp.Seconds > 0 {
		e.Time = time.Unix(m.Timestamp.Seconds, m.Timestamp.Microseconds*int64(time.Microsecond))
	} else {
		e.Time = time.Now()
	}
	return e
}

// excerpt shows the start of a frame on one line.
func excerpt(frame []byte) string {
	const most = 80
	if len(frame) <= most {
		return strconv.Quote(string(frame))
	}
	return strconv.Quote(string(frame[:most])) + "..."
}
