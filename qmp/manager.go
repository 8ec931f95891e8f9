package qmp

import (
	"context"
	"encoding/json"
	"log/slog"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/maqet/maqet/errors"
)

// Finder finds the control channel of a running VM, by name or ID. vm.Manager
// implements it. The channel stays the finder's: it is shared, and lives as long as the
// guest.
type Finder interface {
	QMP(ctx context.Context, ref string) (Conn, error)
}

// namer is a [Finder] that knows what a VM is called when it is given its ID. vm.Manager
// is one.
type namer interface{ VMName(ref string) string }

// label is how errors and the log call a VM, whichever way the caller did.
func (m *Manager) label(ref string) string {
	if n, ok := m.find.(namer); ok {
		return n.VMName(ref)
	}
	return ref
}

// Manager executes QMP commands on VMs, as far as its [Policy] lets it. It is safe for
// concurrent use, and holds nothing that must be closed.
type Manager struct {
	find    Finder
	policy  Policy
	log     *slog.Logger
	hotplug hotplugOptions
	schemas *schemaCache
}

// ManagerOption changes how [NewManager] makes a manager.
type ManagerOption func(*Manager)

// WithPolicy sets the policy. Default: the zero Policy.
func WithPolicy(p Policy) ManagerOption { return func(m *Manager) { m.policy = p } }

// WithLogger sets where commands are logged: name, names of the arguments (never
// values), VM, class, outcome and duration. Default: nowhere.
func WithLogger(l *slog.Logger) ManagerOption { return func(m *Manager) { m.log = l } }

// NewManager returns a manager of the VMs that find knows.
func NewManager(find Finder, opts ...ManagerOption) *Manager {
	m := &Manager{find: find, log: slog.New(slog.DiscardHandler), schemas: newSchemaCache()}
	for _, opt := range opts {
		opt(m)
	}
	return m
}

// Execute sends a command to the VM called ref and returns the answer's "return"
// member. args is nil or marshals to a JSON object. human-monitor-command is refused: see
// [Manager.HMP]. Errors: errors.ErrQMPDenied when
// the policy refuses it, *errors.QMPError when QEMU does, errors.ErrQMPTimeout when ctx
// ended first (the command may still take effect), errors.ErrQMPConnection when QEMU
// has gone, and what the [Finder] says about ref, such as errors.ErrVMNotRunning.
func (m *Manager) Execute(ctx context.Context, ref, command string, args any) (json.RawMessage, error) {
	return m.ExecuteWithFiles(ctx, ref, command, args)
}

// ExecuteWithFiles is [Manager.Execute] with open files for QEMU, for getfd and add-fd. QEMU
// gets duplicates; the files stay the caller's. errors.ErrQMPUnsupported when the VM's
// control channel can't pass files, as libvirt's.
func (m *Manager) ExecuteWithFiles(ctx context.Context, ref, command string, args any, files ...*os.File) (json.RawMessage, error) {
	class := m.policy.Class(command)
	if command == hmpCommand {
		err := &errors.Error{Kind: errors.ErrQMPDenied, Op: "QMP " + command, VM: m.label(ref),
			Msg: "the human monitor is not reached this way", Hint: "call qmp.Manager.HMP under qmp.AllowDangerous(ctx)"}
		m.audit(ctx, slog.LevelWarn, ref, command, args, class, 0, err)
		return nil, err
	}
	return m.executeAs(ctx, ref, class, command, args, files...)
}

// executeAs executes a command under the rules for another class than its own. It is
// for what this package does itself: a screenshot's screendump writes to a descriptor
// of ours, so it does not count as the dangerous command that takes a file's name.
func (m *Manager) executeAs(ctx context.Context, ref string, class Class, command string, args any, files ...*os.File) (json.RawMessage, error) {
	return m.executed(ctx, ref, class, command, args, func() ([]byte, error) { return m.execute(ctx, ref, command, args, files) })
}

// executed decides whether a command may be executed, has do execute it, and logs it.
func (m *Manager) executed(ctx context.Context, ref string, class Class, command string, args any,
	do func() ([]byte, error),
) ([]byte, error) {
	decision := m.policy.Decide(class)
	if class == Dangerous && decision == Deny && dangerousAllowed(ctx) {
		decision = Audit
	}
	if decision == Deny {
		err := denied(m.label(ref), command, class)
		m.audit(ctx, slog.LevelWarn, ref, command, args, class, 0, err)
		return nil, err
	}
	level := slog.LevelDebug
	if decision == Audit {
		level = slog.LevelInfo
	}
	start := time.Now()
	out, err := do()
	m.audit(ctx, level, ref, command, args, class, time.Since(start), err)
	return out, err
}

func (m *Manager) execute(ctx context.Context, ref, command string, args any, files []*os.File) (json.RawMessage, error) {
	conn, err := m.find.QMP(ctx, ref)
	if err != nil {
		return nil, err
	}
	if len(files) == 0 {
		out, err := conn.Execute(ctx, command, args)
		return out, onVM(err, m.label(ref))
	}
	withFiles, ok := conn.(FileConn)
	if !ok {
		return nil, &errors.Error{Kind: errors.ErrQMPUnsupported, Op: "QMP " + command, VM: m.label(ref), Msg: "its control channel can't pass files"}
	}
	out, err := withFiles.ExecuteWithFiles(ctx, command, args, files...)
	return out, onVM(err, m.label(ref))
}

// hold keeps the VM's control channel for commands that belong together; see [Holder].
func (m *Manager) hold(ctx context.Context, ref string) (release func(), err error) {
	conn, err := m.find.QMP(ctx, ref)
	if err != nil {
		return nil, err
	}
	holder, ok := conn.(Holder)
	if !ok {
		return func() {}, nil
	}
	release, err = holder.Hold(ctx)
	return release, onVM(err, m.label(ref))
}

// Call is [Manager.Execute] with the answer unmarshalled into a T.
func Call[T any](ctx context.Context, m *Manager, ref, command string, args any) (T, error) {
	v, err := Do[T](ctx, m.On(ref), command, args)
	return v, onVM(err, m.label(ref))
}

// Events delivers the named events of the VM called ref, or all when none is named,
// until ctx ends or the connection does; then the channel is closed. A receiver that
// does not keep up loses the oldest ones; see [Event].Dropped.
func (m *Manager) Events(ctx context.Context, ref string, names ...string) (<-chan Event, error) {
	conn, err := m.find.QMP(ctx, ref)
	if err != nil {
		return nil, err
	}
	sub := conn.Subscribe(names...)
	sub.closeOn(ctx)
	return sub.C(), nil
}

// Pause halts the virtual CPUs (QMP stop).
func (m *Manager) Pause(ctx context.Context, ref string) error {
	_, err := m.Execute(ctx, ref, "stop", nil)
	return err
}

// Resume lets the virtual CPUs run (QMP cont).
func (m *Manager) Resume(ctx context.Context, ref string) error {
	_, err := m.Execute(ctx, ref, "cont", nil)
	return err
}

// Reset resets the machine at once, as its reset button would (QMP system_reset). It
// returns when the reset was asked for; the event RESET says that it has happened.
func (m *Manager) Reset(ctx context.Context, ref string) error {
	_, err := m.Execute(ctx, ref, "system_reset", nil)
	return err
}

// StatusInfo is what query-status answers (QEMU QMP Reference Manual, StatusInfo).
type StatusInfo struct {
	Status  string `json:"status"`  // QEMU's run state: "running", "paused", "prelaunch", ...
	Running bool   `json:"running"` // the virtual CPUs run
}

// Status asks QEMU for the run state of the VM called ref.
func (m *Manager) Status(ctx context.Context, ref string) (StatusInfo, error) {
	return Call[StatusInfo](ctx, m, ref, "query-status", nil)
}

func denied(ref, command string, class Class) error {
	e := &errors.Error{
		Kind: errors.ErrQMPDenied, Op: "QMP " + shorten(command), VM: ref,
		Msg:  "the policy denies " + class.String() + " commands",
		Hint: "set another qmp.Policy",
	}
	if class == Dangerous {
		e.Hint = "qmp.AllowDangerous(ctx) allows it for one call, qmp.Policy for all"
	}
	return e
}

// onVM adds the VM to an error of a connection, which does not know it.
func onVM(err error, ref string) error {
	switch e := err.(type) {
	case *errors.QMPError:
		named := *e
		named.VM = ref
		return &named
	case *errors.Error:
		named := *e
		named.VM = ref
		return &named
	}
	return err
}

// audit logs a command. Values of arguments are never logged: they may be secrets.
func (m *Manager) audit(ctx context.Context, level slog.Level, ref, command string, args any,
	class Class, took time.Duration, err error,
) {
	if !m.log.Enabled(ctx, level) {
		return
	}
	outcome := "ok"
	if k := errors.KindOf(err); k != nil {
		outcome = k.Name()
	} else if err != nil {
		outcome = "error"
	}
	m.log.LogAttrs(ctx, level, "QMP command",
		slog.String("vm", m.label(ref)),
		slog.String("command", shorten(command)),
		slog.Any("arguments", argumentNames(args)),
		slog.String("class", class.String()),
		slog.String("outcome", outcome),
		slog.Duration("duration", took))
}

// argumentNames returns the names of the top level members of args, sorted.
func argumentNames(args any) []string {
	data, err := marshalArgs(args)
	if err != nil || data == nil {
		return nil
	}
	var members map[string]json.RawMessage
	if json.Unmarshal(data, &members) != nil {
		return nil
	}
	return slices.Sorted(maps.Keys(members))
}
