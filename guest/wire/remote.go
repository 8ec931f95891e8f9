package wire

import (
	"errors"
	"io/fs"
	"syscall"
)

// RemoteError is a failure that the guest reports. [errors.Is] sees its error
// number, so that fs.ErrNotExist, fs.ErrPermission, fs.ErrExist and the
// syscall.Errno itself are found.
type RemoteError struct {
	Op    string        // what was attempted: "exec", "open", "mkdir"
	Path  string        // on what; may be empty
	Errno syscall.Errno // Linux error number of the guest; 0 when there is none
	Msg   string        // what went wrong
}

// Error describes the failure.
func (e *RemoteError) Error() string {
	s := "guest: " + e.Op
	if e.Path != "" {
		s += " " + e.Path
	}
	return s + ": " + e.Msg
}

// Unwrap returns the error number, or nil when there is none.
func (e *RemoteError) Unwrap() error {
	if e.Errno == 0 {
		return nil
	}
	return e.Errno
}

// Status bytes that start the payload of a done frame.
const (
	statusOK = iota
	statusError
)

// encodeResult is the payload of a done frame.
func encodeResult(op operation, reply []byte, err error) []byte {
	if err == nil {
		return append([]byte{statusOK}, reply...)
	}
	r := remoteError(op, err)
	e := &encoder{b: []byte{statusError}}
	e.string(r.Op)
	e.string(r.Path)
	e.uint(uint64(r.Errno))
	e.string(r.Msg)
	if len(e.b) > MaxPayload {
		e.b = e.b[:MaxPayload] // decodes as a message cut short, which is an error as well
	}
	return e.b
}

// decodeResult is the inverse of encodeResult.
func decodeResult(payload []byte) ([]byte, error) {
	d := &decoder{b: payload}
	if d.byte() == statusOK && d.err == nil {
		return d.b, nil
	}
	r := &RemoteError{Op: d.string(), Path: d.string(), Errno: syscall.Errno(d.uint()), Msg: d.string()}
	if d.err != nil {
		return nil, d.err
	}
	return nil, r
}

// remoteError puts any error into the form that travels.
func remoteError(op operation, err error) *RemoteError {
	var r *RemoteError
	if errors.As(err, &r) {
		return r
	}
	r = &RemoteError{Op: op.String(), Msg: err.Error()}
	errors.As(err, &r.Errno)
	var pathErr *fs.PathError
	if errors.As(err, &pathErr) {
		r.Op, r.Path, r.Msg = pathErr.Op, pathErr.Path, pathErr.Err.Error()
	}
	return r
}
