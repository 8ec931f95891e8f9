package qmp

import (
	"context"
	"encoding/json"
	"os"
	"slices"

	"github.com/maqet/maqet/errors"
)

// Execute implements [Conn]. Commands are answered in the order in which they were
// written. At most seven are in flight, more wait for their turn: QEMU would not read
// them either. A command whose context ended before it was written has no effect.
func (c *Client) Execute(ctx context.Context, command string, args any) (json.RawMessage, error) {
	r, s, err := c.prepare(command, args)
	if err != nil {
		return nil, err
	}
	rep, err := s.do(ctx, r, nil)
	return outcome(command, rep, err)
}

// ExecuteOOB is Execute out of band: the command overtakes those that QEMU is busy
// with (QMP specification, "Out-of-band execution"). Few commands can (migrate-pause,
// migrate-recover, yank, query-yank in QEMU 7.2), and only where the monitor offers
// "oob"; elsewhere the error is of kind errors.ErrQMP.
func (c *Client) ExecuteOOB(ctx context.Context, command string, args any) (json.RawMessage, error) {
	r, s, err := c.prepare(command, args)
	if err != nil {
		return nil, err
	}
	if !slices.Contains(c.Greeting().Capabilities, "oob") {
		return nil, &errors.Error{
			Kind: errors.ErrQMP, Op: "QMP " + command,
			Msg:  "this monitor can't execute out of band",
			Hint: "use a monitor on a socket",
		}
	}
	r.id, r.oob = s.nextID(), true
	rep, err := s.do(ctx, r, nil)
	return outcome(command, rep, err)
}

// ExecuteWithFiles is Execute with open files for QEMU, for commands such as getfd and
// add-fd. QEMU gets duplicates; the files stay the caller's. It needs a unix socket.
// Of several such calls one at a time is in flight, because QEMU keeps only the files
// that came last.
func (c *Client) ExecuteWithFiles(ctx context.Context, command string, args any, files ...*os.File) (json.RawMessage, error) {
	if len(files) == 0 {
		return c.Execute(ctx, command, args)
	}
	r, s, err := c.prepare(command, args)
	if err != nil {
		return nil, err
	}
	passed, err := passFiles(s.conn, s.direct != nil, files)
	if err != nil {
		return nil, &errors.Error{Kind: errors.ErrQMP, Op: "QMP " + command, Msg: "files can't be passed", Err: err}
	}
	rep, err := s.do(ctx, r, passed)
	return outcome(command, rep, err)
}

// prepare checks a command and returns it with the connection to send it on.
func (c *Client) prepare(command string, args any) (request, *session, error) {
	r, err := newRequest(command, args)
	if err != nil {
		return request{}, nil, err
	}
	if len(r.args) > c.opts.frameLimit {
		return request{}, nil, &errors.Error{
			Kind: errors.ErrQMP, Op: "QMP " + command, Msg: "arguments longer than the limit of a frame",
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ready {
		return r, c.sess, nil
	}
	cause := c.err
	if cause == nil {
		cause = errors.New("not connected")
	}
	return request{}, nil, errors.Wrap(errors.ErrQMPConnection, "QMP "+command, "", cause)
}

// outcome turns what a session answered to a command into what the caller gets.
func outcome(command string, rep reply, err error) (json.RawMessage, error) {
	switch {
	case err == nil && rep.err == nil:
		return rep.result, nil
	case err == nil:
		return nil, &errors.QMPError{Command: command, Class: rep.err.Class, Desc: rep.err.Desc}
	case errors.Is(err, errors.ErrQMPConnection):
		return nil, errors.Wrap(errors.ErrQMPConnection, "QMP "+command, "", err)
	default:
		return nil, errors.Wrap(errors.ErrQMPTimeout, "QMP "+command, "", err)
	}
}
