package libvirt

import (
	"encoding/json"
	"fmt"

	"github.com/digitalocean/go-libvirt"

	"github.com/maqet/maqet/errors"
)

// maxAgentCommand bounds one command for a guest's agent, in bytes. libvirt writes it to a
// unix socket that never waits, and starts again from the beginning of the command when
// the socket took a part only (9.0: qemuAgentIOWrite uses safewrite, which forgets how much
// was written when it ends with EAGAIN): the agent gets garbage that never ends. A socket
// takes about 208 KiB at once by default (net.core.wmem_default).
const maxAgentCommand = 128 << 10

// agentPiece is how much of a file one guest-file-write carries when libvirt could not
// carry it at once, in bytes.
const agentPiece = 64 << 10

// long executes a command that is too long for libvirt: what is written to a file goes in
// pieces, and everything else is refused.
func (c *agentConn) long(line []byte) ([]byte, error) {
	var in struct {
		Execute   string `json:"execute"`
		Arguments struct {
			Handle int64  `json:"handle"`
			Data   []byte `json:"buf-b64"`
			Count  *int   `json:"count"`
		} `json:"arguments"`
	}
	if err := json.Unmarshal(line, &in); err != nil || in.Execute != "guest-file-write" {
		return agentRefusal("GenericError", fmt.Sprintf("libvirt carries no command of %d bytes to the agent, the limit is %d", len(line), maxAgentCommand)), nil
	}
	data := in.Arguments.Data
	if n := in.Arguments.Count; n != nil && *n >= 0 && *n < len(data) {
		data = data[:*n]
	}
	written := 0
	for len(data) > 0 {
		piece := data[:min(agentPiece, len(data))]
		n, refusal, err := c.writePiece(in.Arguments.Handle, piece)
		if err != nil || refusal != nil {
			return refusal, err
		}
		written += n
		if n < len(piece) {
			break
		}
		data = data[n:]
	}
	return fmt.Appendf(nil, `{"return":{"count":%d,"eof":false}}`, written), nil
}

func (c *agentConn) writePiece(handle int64, piece []byte) (n int, refusal []byte, _ error) {
	request, err := json.Marshal(map[string]any{"execute": "guest-file-write",
		"arguments": map[string]any{"handle": handle, "buf-b64": piece}})
	if err != nil {
		return 0, nil, err
	}
	answer, refusal, err := c.ask("guest-file-write", string(request))
	if err != nil || refusal != nil {
		return 0, refusal, err
	}
	var reply struct {
		Return struct {
			Count int `json:"count"`
		} `json:"return"`
	}
	err = json.Unmarshal([]byte(answer), &reply)
	return reply.Return.Count, nil, errors.Wrap(errors.ErrAgentUnavailable, "", "", err)
}

// ask executes a command; refusal is the agent's.
func (c *agentConn) ask(command, request string) (answer string, refusal []byte, _ error) {
	answer, err := c.execute(request, false)
	switch {
	case err == nil:
		return answer, nil, nil
	case hasCode(err, libvirt.ErrAgentCommandFailed) || hasCode(err, libvirt.ErrInternalError):
		return "", c.refusal(command, err), nil
	}
	return "", nil, err
}
