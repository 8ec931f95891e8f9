package qmp

import (
	"context"
	"encoding/json"
	"strings"

	"github.com/maqet/maqet/errors"
)

const hmpCommand = "human-monitor-command"

// HMP executes one line of the human monitor on the VM called ref and returns what it
// prints. Prefer QMP commands: the human monitor reports its errors as text like any
// other, so that HMP succeeds when the line failed, and what it prints changes with
// QEMU's version (QEMU QMP Reference Manual, human-monitor-command).
//
// The human monitor can run programs and open files of the host, so it is [Dangerous]:
// by default only calls under [AllowDangerous] are let through. It is reached in no
// other way, not even by Execute under a policy that allows dangerous commands. The line
// goes to QEMU as it is: never build one from a user's words.
func (m *Manager) HMP(ctx context.Context, ref, line string) (string, error) {
	if strings.TrimSpace(line) == "" || strings.ContainsAny(line, "\r\n\x00") {
		return "", &errors.Error{
			Kind: errors.ErrQMP, Op: "human monitor", VM: m.label(ref), Msg: "the line is empty, or is more than one",
			Hint: "give one line, such as \"info mtree\"",
		}
	}
	out, err := m.executeAs(ctx, ref, m.policy.Class(hmpCommand), hmpCommand, map[string]string{"command-line": line})
	if err != nil {
		return "", err
	}
	var text string
	if err := json.Unmarshal(out, &text); err != nil {
		return "", errors.Wrap(errors.ErrQMP, "human monitor: decode the answer", m.label(ref), err)
	}
	return text, nil
}
