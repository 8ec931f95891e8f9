package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if os.Getenv(playTool) != "" { // see tool_test.go
		main()
	}
	goleak.VerifyTestMain(m)
}

// invoked is what one invocation did.
type invoked struct {
	code     int
	out, err string
}

// ctl runs maqetctl in this process, on the folder dir, with nothing on standard input.
func ctl(t *testing.T, dir string, args ...string) invoked {
	t.Helper()
	return ctlWith(t, dir, "", args...)
}

// ctlWith is ctl with text on standard input, which is no terminal.
func ctlWith(t *testing.T, dir, stdin string, args ...string) invoked {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var out, stderr bytes.Buffer
	code := run(ctx, append([]string{"--dir", dir}, args...), strings.NewReader(stdin), &out, &stderr)
	return invoked{code, out.String(), stderr.String()}
}

// ok fails the test unless the invocation succeeded, and returns what it printed.
func (i invoked) ok(t *testing.T) string {
	t.Helper()
	require.Zero(t, i.code, "%s%s", i.out, i.err)
	return i.out
}

// failed fails the test unless the invocation ended with that code, and returns what it
// said about it.
func (i invoked) failed(t *testing.T, code int) string {
	t.Helper()
	require.Equal(t, code, i.code, "%s%s", i.out, i.err)
	require.NotEmpty(t, i.err)
	return i.err
}

// parsed reads JSON, in which there may be no field that T has not.
func parsed[T any](t *testing.T, text string) (v T) {
	t.Helper()
	dec := json.NewDecoder(strings.NewReader(text))
	dec.DisallowUnknownFields()
	require.NoError(t, dec.Decode(&v), text)
	return v
}

// failureOf reads an error that was printed as JSON.
func failureOf(t *testing.T, text string) failure {
	t.Helper()
	return parsed[map[string]failure](t, text)["error"]
}

// write makes a file of the test.
func write(t *testing.T, path, text string) string {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}
