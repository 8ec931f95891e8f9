package qmp

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
)

// startTraced starts a machine and returns what gives the input events that QEMU has
// seen since it was last called: "+a" for a press, "-a" for a release.
func startTraced(t *testing.T, args ...string) (*Manager, func() string) {
	t.Helper()
	log := filepath.Join(t.TempDir(), "trace")
	m, _ := startMachine(t, append([]string{"-D", log, "-trace", "input_event_key_qcode", "-trace", "input_event_btn"}, args...)...)
	read := 0
	line := regexp.MustCompile(`(?:key qcode|button) ([a-z0-9_-]+), down (\d)`)
	return m, func() string {
		data, err := os.ReadFile(log)
		require.NoError(t, err)
		var seen []string
		for _, match := range line.FindAllStringSubmatch(string(data[read:]), -1) {
			seen = append(seen, map[string]string{"1": "+", "0": "-"}[match[2]]+match[1])
		}
		read = len(data)
		return strings.Join(seen, " ")
	}
}

// fast is for a QEMU that nobody reads keys from.
var fast = KeyboardOptions{Gap: -1}

func TestQEMUGetsKeys(t *testing.T) {
	m, seen := startTraced(t)
	ctx := within(t, time.Minute)
	k := m.Keyboard("web", fast)
	require.NoError(t, m.SendKeys(ctx, "web", "ctrl", "alt", "delete"))
	require.Equal(t, "+ctrl +alt +delete -delete -alt -ctrl", seen())
	require.NoError(t, k.Send(ctx, "ctrl-alt-f2", "ret", "shift"))
	require.Equal(t, "+ctrl +alt +f2 -f2 -alt -ctrl +ret -ret +shift -shift", seen())
	require.NoError(t, m.Type(ctx, "web", "aB\n"))
	require.Equal(t, "+a -a +shift +b -b -shift +ret -ret", seen())
	de := LayoutDE()
	require.NoError(t, m.Keyboard("web", KeyboardOptions{Gap: -1, Layout: &de}).Type(ctx, "zê"))
	require.Equal(t, "+y -y +grave_accent -grave_accent +e -e", seen())
	many := "a-b-c-d-e-f-g-h-i-j"
	require.NoError(t, k.Send(ctx, many))
	down := "+" + strings.ReplaceAll(many, "-", " +")
	require.True(t, strings.HasPrefix(seen(), down+" -j "))

	require.NoError(t, k.Down(ctx, "ctrl", "x"))
	require.NoError(t, k.Up(ctx, "ctrl-x"))
	require.Equal(t, "+ctrl +x -x -ctrl", seen())
	require.NoError(t, k.Send(ctx))
	require.NoError(t, k.Type(ctx, ""))

	hold := m.Keyboard("web", KeyboardOptions{Gap: -1, Hold: 50 * time.Millisecond})
	begun := time.Now()
	require.NoError(t, hold.Send(ctx, "a", "b"))
	require.GreaterOrEqual(t, time.Since(begun), 100*time.Millisecond)
	require.Equal(t, "+a -a +b -b", seen())
}

func TestQEMUGetsNoKeysOfBadCalls(t *testing.T) {
	m, seen := startTraced(t)
	ctx := within(t, time.Minute)
	k := m.Keyboard("web", fast)
	require.ErrorIs(t, k.Send(ctx, "a", "nokey"), errors.ErrConfigValidation)
	require.ErrorIs(t, k.Type(ctx, "aé"), errors.ErrConfigValidation)
	require.ErrorIs(t, k.Down(ctx, "nokey"), errors.ErrConfigValidation)
	require.ErrorIs(t, k.Up(ctx, "nokey"), errors.ErrConfigValidation)
	require.ErrorIs(t, m.SendKeys(ctx, "other", "a"), errors.ErrVMNotFound)
	var refused *errors.QMPError
	require.ErrorAs(t, m.Keyboard("web", KeyboardOptions{Display: "none"}).Send(ctx, "a"), &refused)
	over, cancel := context.WithCancel(ctx)
	cancel()
	require.ErrorIs(t, k.Type(over, "a"), context.Canceled)
	require.ErrorIs(t, k.Type(over, ""), context.Canceled)
	m.policy = Policy{Normal: Deny}
	require.ErrorIs(t, k.Type(ctx, "a"), errors.ErrQMPDenied)
	m.policy = Policy{}

	require.NoError(t, m.Pause(ctx, "web"))
	require.ErrorIs(t, k.Type(ctx, "a"), errors.ErrVMNotRunning)
	require.ErrorIs(t, k.Down(ctx, "a"), errors.ErrVMNotRunning)
	require.ErrorIs(t, m.Mouse("web", MouseOptions{}).Click(ctx, ButtonLeft), errors.ErrVMNotRunning)
	require.Empty(t, seen())
}

func TestCancelledTypingLeavesNoKeyDown(t *testing.T) {
	m, seen := startTraced(t)
	for name, call := range map[string]func(context.Context) error{
		"hold": func(ctx context.Context) error {
			return m.Keyboard("web", KeyboardOptions{Hold: time.Hour}).Send(ctx, "ctrl-alt-f2")
		},
		"type": func(ctx context.Context) error { return m.Type(ctx, "web", strings.Repeat("Ab", 1000)) },
		"long chord": func(ctx context.Context) error {
			return m.Keyboard("web", KeyboardOptions{Gap: time.Hour}).Send(ctx, "a-b-c-d-e")
		},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(within(t, time.Minute))
			done := make(chan error, 1)
			go func() { done <- call(ctx) }()
			events := ""
			require.Eventually(t, func() bool { events += " " + seen(); return strings.Contains(events, "+") }, 20*time.Second, 5*time.Millisecond)
			begun := time.Now()
			cancel()
			err := soon(t, done)
			require.Less(t, time.Since(begun), 2*time.Second, "100 ms, on a machine that is not busy")
			require.ErrorIs(t, err, context.Canceled)
			require.ErrorIs(t, err, errors.ErrQMPTimeout)
			requireAllUp(t, events+" "+seen())
		})
	}
}

// requireAllUp checks that every key that was pressed was released after it.
func requireAllUp(t *testing.T, events string) {
	t.Helper()
	down := map[string]bool{}
	for _, e := range strings.Fields(events) {
		down[e[1:]] = e[0] == '+'
	}
	require.NotEmpty(t, down)
	for key, isDown := range down {
		require.False(t, isDown, key)
	}
}

// A QEMU that does not answer: the call returns all the same, and says what it left.
func TestCancelWhileQEMUHangs(t *testing.T) {
	c, server := connected(t)
	m := NewManager(oneVM{c})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- m.Keyboard("web", KeyboardOptions{Hold: time.Second}).Send(ctx, "a") }()
	server.expect(`{"execute":"query-status"}`)
	server.send(`{"return": {"status": "running", "running": true}}`)
	server.expect(`{"execute":"input-send-event","arguments":{"events":[` +
		`{"type":"key","data":{"down":true,"key":{"type":"qcode","data":"a"}}}]}}`)
	begun := time.Now()
	cancel()
	err := soon(t, done)
	require.Less(t, time.Since(begun), 2*time.Second)
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorContains(t, err, "release keys")
	server.expect(`{"execute":"input-send-event","arguments":{"events":[` +
		`{"type":"key","data":{"down":false,"key":{"type":"qcode","data":"a"}}}]}}`)
}

func TestPacing(t *testing.T) {
	var last struct {
		Arguments struct {
			Device string
			Head   *int
			Events []json.RawMessage
		}
	}
	events := 0
	m, _ := managed(t, func(request string) string {
		if strings.Contains(request, "query-status") {
			return `{"return": {"status": "suspended", "running": false}}`
		}
		require.NoError(t, json.Unmarshal([]byte(request), &last))
		require.LessOrEqual(t, len(last.Arguments.Events), maxEvents)
		events += len(last.Arguments.Events)
		return `{"return": {}}`
	})
	text := "lower UPPER\n"
	k := m.Keyboard("web", KeyboardOptions{Display: "video0", Gap: 2 * time.Millisecond})
	begun := time.Now()
	require.NoError(t, k.Type(t.Context(), text))
	require.Equal(t, 2*len(text)+2*5, events)
	require.GreaterOrEqual(t, time.Since(begun), time.Duration(events)*2*time.Millisecond)
	require.Equal(t, "video0", last.Arguments.Device)
	require.Zero(t, *last.Arguments.Head)
}
