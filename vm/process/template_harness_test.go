package process

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	boot "github.com/maqet/maqet/guest"
	"github.com/maqet/maqet/internal/testhost"
	"github.com/maqet/maqet/vm"
)

// saved is what is left of a guest that was made a template of by hand.
type saved struct {
	vm.Incoming
	state []byte
	spec  vm.LaunchSpec
}

// bootSpec is the default guest.
func bootSpec(t testing.TB, cfg vm.Config) vm.LaunchSpec {
	t.Helper()
	needQEMU(t)
	_, err := exec.LookPath("go")
	testhost.Needs(t, "the go command", err)
	spec := specOf(cfg)
	spec.Boot, err = boot.NewBooter(boot.BooterOptions{}).ResolveBoot(t.Context(), spec.Config)
	testhost.Needs(t, "a kernel (make setup installs one)", err)
	for i, d := range cfg.Disks {
		spec.Images = append(spec.Images, vm.Image{Name: d.NameAt(i), Path: d.Path, Format: d.ImageFormat()})
	}
	return spec
}

// booted starts the default guest and waits for its agent.
func (h *house) booted(spec vm.LaunchSpec) *agentGuest {
	h.t.Helper()
	g := h.launch(spec)
	require.NoError(h.t, g.Connect(patient(h.t)))
	require.NoError(h.t, g.Continue(patient(h.t)))
	return h.agent(g)
}

// agentGuest is a guest with its agent.
type agentGuest struct {
	*guest
	t    testing.TB
	conn net.Conn
	in   *bufio.Reader
}

// agentTime is how long a guest may take to answer.
const agentTime = 2 * time.Minute

// agent waits until the guest's agent answers.
func (h *house) agent(g *guest) *agentGuest {
	h.t.Helper()
	conn, err := g.Dial(h.t.Context(), vm.ChannelAgent, false)
	require.NoError(h.t, err)
	a := &agentGuest{guest: g, t: h.t, conn: conn, in: bufio.NewReader(conn)}
	require.NoError(h.t, conn.SetDeadline(time.Now().Add(agentTime)))
	var id int
	a.call("guest-sync", map[string]any{"id": 1}, &id)
	require.Equal(h.t, 1, id)
	return a
}

// call runs a command of the agent, which has to succeed.
func (a *agentGuest) call(command string, args, into any) {
	a.t.Helper()
	require.Nil(a.t, a.try(command, args, into), command)
}

// try runs a command of the agent (QEMU Guest Agent Protocol Reference), and returns what went
// wrong in the guest.
func (a *agentGuest) try(command string, args, into any) (failure any) {
	a.t.Helper()
	line, err := json.Marshal(map[string]any{"execute": command, "arguments": args})
	require.NoError(a.t, err)
	_, err = a.conn.Write(append(line, '\n'))
	require.NoError(a.t, err)
	text, err := a.in.ReadBytes('\n')
	require.NoError(a.t, err)
	answer := struct {
		Return any
		Error  any
	}{Return: into}
	require.NoError(a.t, json.Unmarshal(text, &answer))
	return answer.Error
}

// write makes a file in the guest, which is all in its memory.
func (a *agentGuest) write(path, text string) {
	a.t.Helper()
	var handle int
	a.call("guest-file-open", map[string]any{"path": path, "mode": "w"}, &handle)
	a.call("guest-file-write", map[string]any{"handle": handle, "buf-b64": base64.StdEncoding.EncodeToString([]byte(text))}, nil)
	a.call("guest-file-close", map[string]any{"handle": handle}, nil)
}

func (a *agentGuest) read(path string) string {
	a.t.Helper()
	var handle int
	a.call("guest-file-open", map[string]any{"path": path, "mode": "r"}, &handle)
	var got struct {
		Text string `json:"buf-b64"`
	}
	a.call("guest-file-read", map[string]any{"handle": handle}, &got)
	a.call("guest-file-close", map[string]any{"handle": handle}, nil)
	text, err := base64.StdEncoding.DecodeString(got.Text)
	require.NoError(a.t, err)
	return string(text)
}

// migrate lets QEMU save its state to, or load it from, one end of a connection; other works
// on the other end meanwhile. shared leaves out memory that is in a file that others have, too.
func migrate(t testing.TB, g *guest, command string, shared bool, other func(*os.File)) {
	t.Helper()
	events := g.control.Subscribe("MIGRATION")
	defer events.Close()
	caps := []map[string]any{{"capability": "events", "state": true}, {"capability": "x-ignore-shared", "state": shared}}
	ask[struct{}](t, g, "migrate-set-capabilities", map[string]any{"capabilities": caps})
	ours, theirs, err := connectedPair()
	require.NoError(t, err)
	defer ours.Close()
	_, err = g.control.ExecuteWithFiles(t.Context(), "getfd", map[string]any{"fdname": "state"}, theirs)
	require.NoError(t, err)
	require.NoError(t, theirs.Close())
	ask[struct{}](t, g, command, map[string]any{"uri": "fd:state"})
	other(ours)
	for {
		select {
		case e := <-events.C():
			var status struct{ Status string }
			require.NoError(t, json.Unmarshal(e.Data, &status))
			require.NotEqual(t, "failed", status.Status)
			if status.Status == "completed" {
				return
			}
		case <-time.After(agentTime):
			t.Fatal(command, "did not end")
		}
	}
}

// capture makes a template of a guest, which ends with that.
func (h *house) capture(a *agentGuest, spec vm.LaunchSpec) saved {
	h.t.Helper()
	s := saved{spec: spec}
	var err error
	s.Fingerprint, err = a.Fingerprint(h.t.Context(), record(spec, a))
	require.NoError(h.t, err)
	s.Memory, err = a.Memory()
	require.NoError(h.t, err)
	ask[struct{}](h.t, a, "stop", nil)
	migrate(h.t, a.guest, "migrate", s.Memory != nil, func(f *os.File) {
		s.state, err = io.ReadAll(f)
		require.NoError(h.t, err)
	})
	require.NoError(h.t, a.conn.Close())
	require.NoError(h.t, a.proc.signal(unix.SIGKILL))
	gone(h.t, a.Done())
	if s.Memory != nil {
		h.t.Cleanup(func() { require.NoError(h.t, s.Memory.Close()) })
		seal(h.t, s.Memory)
	}
	return s
}

// seal makes a file in memory one that nobody can change.
func seal(t testing.TB, f *os.File) {
	t.Helper()
	_, err := unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, unix.F_SEAL_WRITE|unix.F_SEAL_GROW|unix.F_SEAL_SHRINK|unix.F_SEAL_SEAL)
	require.NoError(t, err)
}

// forkSpec is that of a fork: with an ID and a name of its own.
func (s saved) forkSpec() vm.LaunchSpec {
	cfg := s.spec.Config
	cfg.Name, cfg.Template = "", false
	spec := specOf(cfg)
	spec.Boot, spec.Images, spec.Incoming = s.spec.Boot, s.spec.Images, &s.Incoming
	return spec
}

// fork launches a copy and waits for its agent.
func (h *house) fork(s saved) *agentGuest {
	h.t.Helper()
	g := h.launch(s.forkSpec())
	require.NoError(h.t, g.Connect(patient(h.t)))
	h.load(g, s)
	require.NoError(h.t, g.Continue(patient(h.t)))
	return h.agent(g)
}

func (h *house) load(g *guest, s saved) {
	h.t.Helper()
	require.Equal(h.t, "inmigrate", ask[runState](h.t, g, "query-status", nil).Status)
	migrate(h.t, g, "migrate-incoming", s.Memory != nil, func(f *os.File) {
		_, err := f.Write(s.state)
		require.NoError(h.t, err)
		require.NoError(h.t, unix.Shutdown(int(f.Fd()), unix.SHUT_WR))
	})
	require.False(h.t, ask[runState](h.t, g, "query-status", nil).Running)
}

// imageFor makes an empty disk.
func (h *house) imageFor(name string) string {
	h.t.Helper()
	path := filepath.Join(h.dir, name)
	f, err := os.Create(path)
	require.NoError(h.t, err)
	require.NoError(h.t, f.Truncate(1<<20))
	require.NoError(h.t, f.Close())
	return path
}
