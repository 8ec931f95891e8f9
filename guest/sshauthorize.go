package guest

import (
	"context"

	"github.com/maqet/maqet/errors"
)

// authorize lets user in with a key, by the guest's agent: by the command that is made for
// it (QEMU Guest Agent Protocol Reference, guest-ssh-add-authorized-keys), or where the agent
// has not that, as maqet's own init, by a script.
func (m *Manager) authorize(ctx context.Context, ref, user, line string) error {
	_, err := m.Agent(ctx, ref, "guest-ssh-add-authorized-keys", map[string]any{"username": user, "keys": []string{line}})
	if !unknownCommand(err) {
		return err
	}
	passwd, err := m.ReadFile(ctx, ref, "/etc/passwd")
	if err != nil {
		return err
	}
	a, ok := findAccount(passwd, user)
	if !ok || a.home == "" {
		return &errors.Error{Kind: errors.ErrGuest, Op: "bring an ssh key into VM", VM: ref, Msg: "the guest has no user " + user}
	}
	_, err = m.Exec(ctx, ref, Command{Args: []string{"sh", "-c", scriptAuthorize, "sh", a.home, line, a.uid + ":" + a.gid}})
	return err
}

// scriptAuthorize adds a line to a user's authorized_keys, on a line of its own also where the
// last one has no end. A file of root's that the user has put a link to stays root's.
const scriptAuthorize = `umask 077; cd -- "$1" && mkdir -p .ssh && f=.ssh/authorized_keys &&
if [ -n "$(tail -c 1 $f 2>/dev/null)" ]; then echo >>$f; fi && printf '%s\n' "$2" >>$f &&
chown -h "$3" .ssh $f`
