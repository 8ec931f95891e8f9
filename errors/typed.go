package errors

import (
	"fmt"
	"strconv"
	"strings"
)

// QMPError is QEMU's answer to a command that failed. Its kind is
// [ErrQMPCommand]. Class and Desc are as QEMU sent them (QMP specification,
// section "Error"): class is one of GenericError, CommandNotFound,
// DeviceNotActive, DeviceNotFound, KVMMissingCap.
type QMPError struct {
	VM      string
	Command string
	Class   string
	Desc    string
}

// Error names the command, the VM, the class and the description.
func (e *QMPError) Error() string {
	return sentence("QMP "+e.Command, e.VM, e.Class+": "+e.Desc, nil, "")
}

// Unwrap returns [ErrQMPCommand].
func (e *QMPError) Unwrap() error { return ErrQMPCommand }

// ExitStatus says how a QEMU process, or a process in a guest, ended.
type ExitStatus struct {
	Known  bool   // false: the process ended, but nobody could collect its status
	Code   int    // exit code, when Signal is empty
	Signal string // name of the signal that ended it, such as "SIGKILL"
}

// String returns "exit status 1", "signal SIGKILL" or "unknown exit status".
func (s ExitStatus) String() string {
	switch {
	case !s.Known:
		return "unknown exit status"
	case s.Signal != "":
		return "signal " + s.Signal
	default:
		return "exit status " + strconv.Itoa(s.Code)
	}
}

// StartError is a start that failed. Its kind is [ErrVMStart]; the cause in Err
// keeps kinds of its own, such as [ErrQEMUNotFound] or [ErrGuestPanic].
type StartError struct {
	VM      string
	Step    string      // the step of the start sequence that failed
	Args    []string    // QEMU's command line, Args[0] is the binary; nil before launch
	Exit    *ExitStatus // how QEMU ended; nil while it never ran or still ran
	Stderr  string      // the end of QEMU's stderr, at most 4 KiB, and as much of each helper's
	Console string      // the end of the guest's console, at most 4 KiB
	Hint    string
	Err     error
}

// Error names the VM, the step and the cause, then QEMU's exit status and the
// ends of stderr and console, each on lines of its own. A status and a stderr that the
// cause has in full are not repeated, nor is the console of a guest that died.
func (e *StartError) Error() string {
	var b strings.Builder
	b.WriteString(sentence("start VM", e.VM, "step "+e.Step, e.Err, e.Hint))
	said := ""
	if e.Err != nil {
		said = e.Err.Error()
	}
	if e.Exit != nil && !strings.Contains(said, "QEMU ended with "+e.Exit.String()) {
		fmt.Fprintf(&b, "\nQEMU ended with %s", e.Exit)
	}
	if !strings.Contains(said, strings.TrimSpace(e.Stderr)) {
		block(&b, "QEMU's stderr", e.Stderr)
	}
	var died *GuestError
	if !As(e.Err, &died) || died.Console == "" {
		block(&b, "console", e.Console)
	}
	return b.String()
}

// Unwrap returns [ErrVMStart] and the cause.
func (e *StartError) Unwrap() []error { return kindAndCause(ErrVMStart, e.Err) }

// TransitionError says that the state machine does not allow an operation. Its
// kind is Kind, [ErrIllegalTransition] when nil; with a narrower kind such as
// [ErrVMAlreadyRunning], errors.Is finds both.
type TransitionError struct {
	Kind  *Kind
	VM    string
	Op    string // "start", "stop", "pause", "remove", ...
	State string // the state the VM is in
	Hint  string
}

// Error names the operation, the VM and the state it is in.
func (e *TransitionError) Error() string {
	return sentence(e.Op+" VM", e.VM, "not possible while it is "+e.State, nil, e.Hint)
}

// Unwrap returns the kind and [ErrIllegalTransition].
func (e *TransitionError) Unwrap() []error { return kindAndCause(e.Kind, ErrIllegalTransition) }

// GuestError is a guest that died or fell silent. Its kind is Kind:
// [ErrGuestPanic] or [ErrGuestSilent].
type GuestError struct {
	Kind    *Kind
	VM      string
	Msg     string // the panic's first line, or how long the guest was silent
	Console string // the end of the console, at most 4 KiB
	Hint    string
}

// Error has the message and the end of the console.
func (e *GuestError) Error() string {
	var b strings.Builder
	b.WriteString(sentence("VM", e.VM, e.Kind.text, New(e.Msg), e.Hint))
	block(&b, "console", e.Console)
	return b.String()
}

// Unwrap returns the kind.
func (e *GuestError) Unwrap() error { return e.Kind }

// CommandError is a command in a guest that ended with a non-zero code or by a
// signal. Its kind is [ErrCommandFailed].
type CommandError struct {
	VM       string
	Args     []string
	ExitCode int    // -1 when a signal ended it
	Signal   int    // number of the signal, 0 for none
	Stderr   string // the end of its stderr, at most 4 KiB, if it was captured
}

// Error names the command, how it ended, and the end of its stderr.
func (e *CommandError) Error() string {
	how := "exit status " + strconv.Itoa(e.ExitCode)
	if e.Signal != 0 {
		how = "signal " + strconv.Itoa(e.Signal)
	}
	var b strings.Builder
	b.WriteString(sentence("command "+quoteAll(e.Args)+" in VM", e.VM, how, nil, ""))
	block(&b, "stderr", e.Stderr)
	return b.String()
}

// Unwrap returns [ErrCommandFailed].
func (e *CommandError) Unwrap() error { return ErrCommandFailed }

func block(b *strings.Builder, title, text string) {
	text = strings.TrimRight(text, "\r\n\t ")
	if text == "" {
		return
	}
	b.WriteString("\n" + title + ":\n  ")
	b.WriteString(strings.ReplaceAll(text, "\n", "\n  "))
}

// quote shows a name that may hold anything on one line of at most 80 characters.
func quote(s string) string {
	if len(s) > 80 {
		s = s[:77] + "..."
	}
	return strconv.Quote(s)
}

func quoteAll(args []string) string {
	q := make([]string, len(args))
	for i, a := range args {
		q[i] = quote(a)
	}
	return "[" + strings.Join(q, " ") + "]"
}

// LibvirtError is libvirt's answer to a call that failed. Its kind is Kind, [ErrBackend] when
// nil.
type LibvirtError struct {
	Kind    *Kind
	Op      string // what was attempted, as a verb phrase
	VM      string // name (or ID) of the VM, empty when none is concerned
	Code    int    // libvirt's error number (virErrorNumber), such as 42 for an unknown domain
	Message string // libvirt's own
	Hint    string // the next step, if there is one
	Err     error  // the error of the library that speaks to libvirt
}

// Error names the operation and the VM, and has libvirt's message.
func (e *LibvirtError) Error() string {
	return sentence(e.Op, e.VM, "libvirt: "+e.Message, nil, e.Hint)
}

// Unwrap returns the kind and the library's error.
func (e *LibvirtError) Unwrap() []error {
	if e.Kind == nil {
		return kindAndCause(ErrBackend, e.Err)
	}
	return kindAndCause(e.Kind, e.Err)
}
