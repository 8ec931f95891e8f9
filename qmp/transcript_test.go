package qmp

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
)

// lines returns a transcript's lines without the header.
func lines(t *testing.T, path string) []string {
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	body, ok := strings.CutPrefix(string(data), transcriptHeader)
	require.True(t, ok, "%q", data)
	return strings.Split(strings.TrimSuffix(body, "\n"), "\n")
}

func TestTranscript(t *testing.T) {
	m, server := managed(t, always(`{"return": {"a": 1}}`))
	path := filepath.Join(t.TempDir(), "qmp.log")
	tr, err := m.Transcript(t.Context(), "web", path)
	require.NoError(t, err)
	events, err := m.Events(t.Context(), "web")
	require.NoError(t, err)
	_, err = m.Execute(t.Context(), "web", "query-status", nil)
	require.NoError(t, err)
	server.send(stopEvent)
	soon(t, events)
	_, err = m.Execute(t.Context(), "web", "set_password", map[string]any{"protocol": "vnc", "password": "top secret"})
	require.NoError(t, err)
	require.NoError(t, tr.Close())
	require.NoError(t, tr.Close())
	_, err = m.Execute(t.Context(), "web", "query-name", nil)
	require.NoError(t, err)

	got := lines(t, path)
	line := regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z (->|<-) (\{.*\})$`)
	var frames []string
	for _, l := range got {
		match := line.FindStringSubmatch(l)
		require.NotNil(t, match, l)
		frames = append(frames, match[1]+match[2])
	}
	require.Equal(t, []string{
		`->{"execute":"query-status"}`, `<-{"return": {"a": 1}}`, `<-` + stopEvent,
		`->{"arguments":{"password":"***","protocol":"vnc"},"execute":"set_password"}`, `<-{"return": {"a": 1}}`,
	}, frames)
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode())

	// Continued by a second one, which ends with the connection.
	tr, err = m.Transcript(t.Context(), "web", path)
	require.NoError(t, err)
	_, err = m.Execute(t.Context(), "web", "query-name", nil)
	require.NoError(t, err)
	require.NoError(t, server.conn.Close())
	tr.work.Wait()
	require.NoError(t, tr.Close())
	require.Len(t, lines(t, path), 7)
}

func TestTranscriptRotates(t *testing.T) {
	m, _ := managed(t, always(`{"return": "`+strings.Repeat("x", transcriptFrame)+`"}`))
	path := filepath.Join(t.TempDir(), "qmp.log")
	tr, err := m.Transcript(t.Context(), "web", path, TranscriptSize(40<<10, 2))
	require.NoError(t, err)
	for i := range 20 {
		_, err := m.Execute(t.Context(), "web", "query-name", map[string]int{"n": i})
		require.NoError(t, err)
	}
	require.NoError(t, tr.Close())
	files, err := filepath.Glob(path + "*")
	require.NoError(t, err)
	require.ElementsMatch(t, []string{path, path + ".1", path + ".2"}, files)
	for _, f := range []string{path, path + ".1", path + ".2"} {
		info, err := os.Stat(f)
		require.NoError(t, err)
		require.LessOrEqual(t, info.Size(), int64(40<<10), f)
		require.Equal(t, os.FileMode(0o600), info.Mode())
		require.Contains(t, strings.Join(lines(t, f), ""), fmt.Sprintf("... (%d bytes)", transcriptFrame+len(`{"return": ""}`)))
	}
}

// TestTranscriptTouchesNothingElse: not a file that is no transcript, nor what a link
// points to, also when it comes to rotate.
func TestTranscriptTouchesNothingElse(t *testing.T) {
	m, _ := managed(t, always(`{"return": {}}`))
	dir := t.TempDir()
	mine := filepath.Join(dir, "mine")
	require.NoError(t, os.WriteFile(mine, []byte("do not touch"), 0o644))
	link := filepath.Join(dir, "link")
	require.NoError(t, os.Symlink(mine, link))
	for _, path := range []string{mine, link, dir, filepath.Join(dir, "no", "folder")} {
		_, err := m.Transcript(t.Context(), "web", path)
		require.ErrorIs(t, err, errors.ErrQMP, path)
	}
	path := filepath.Join(dir, "qmp.log")
	require.NoError(t, os.WriteFile(path+".1", []byte("do not touch"), 0o644))
	tr, err := m.Transcript(t.Context(), "web", path, TranscriptSize(1, 1))
	require.NoError(t, err)
	_, err = m.Execute(t.Context(), "web", "query-name", nil)
	require.NoError(t, err)
	require.ErrorIs(t, tr.Close(), errors.ErrQMP)
	for _, f := range []string{mine, path + ".1"} {
		data, err := os.ReadFile(f)
		require.NoError(t, err)
		require.Equal(t, "do not touch", string(data))
	}
	_, err = m.Transcript(t.Context(), "other", path)
	require.ErrorIs(t, err, errors.ErrVMNotFound)
	_, err = NewManager(finders{"web": plain{}}).Transcript(t.Context(), "web", path)
	require.ErrorIs(t, err, errors.ErrQMPUnsupported)
}

// TestTranscriptNeverDelays: what the disk can't take is left out and counted.
func TestTranscriptNeverDelays(t *testing.T) {
	tr := &Transcript{queue: make(chan queuedFrame, 2), file: rotatingFile{path: filepath.Join(t.TempDir(), "t"), limit: transcriptSize}}
	require.NoError(t, tr.file.open())
	for i := range 5 { // nobody writes yet
		tr.take(Frame{Time: time.Now(), Data: fmt.Appendf(nil, "%d", i)})
	}
	tr.stop = func() {}
	tr.work.Go(func() { tr.write(nil) })
	require.NoError(t, tr.Close())
	got := lines(t, tr.file.path)
	require.Len(t, got, 3)
	require.Equal(t, "# 3 frames left out: the disk was too slow", got[2])
	require.Contains(t, got[0], "<- 0")
}

func TestSecretsAreBlanked(t *testing.T) {
	for request, want := range map[string]string{
		`{"execute":"query-status"}`: ``,
		`{"execute":"object-add","arguments":{"qom-type":"memory-backend-ram","id":"m","data":"x"}}`:         ``,
		`{"execute":"device_add","arguments":{"driver":"x","key-secret":"sec0"}}`:                            ``,
		`{"execute":"object-add","arguments":{"qom-type":"secret","id":"s","data":"hush","format":"raw"}}`:   `{"arguments":{"data":"***","format":"raw","id":"s","qom-type":"secret"},"execute":"object-add"}`,
		`{"execute":"input-send-event","arguments":{"events":[{"type":"key"}]},"id":7}`:                      `{"arguments":{"events":"***"},"execute":"input-send-event","id":7}`,
		`{"execute":"human-monitor-command","arguments":{"command-line":"set_password vnc x"}}`:              `{"arguments":{"command-line":"***"},"execute":"human-monitor-command"}`,
		`{"exec-oob":"x","arguments":{"a":[{"password":"p"}]}}`:                                              `{"arguments":{"a":[{"password":"***"}]},"exec-oob":"x"}`,
		`{"execute":"blockdev-add","arguments":{"driver":"ssh","n":12345678901234567890,"password":"hush"}}`: `{"arguments":{"driver":"ssh","n":12345678901234567890,"password":"***"},"execute":"blockdev-add"}`,
		`hush`:                 `(not a request)`,
		`{"arguments":"hush"}`: `(not a request)`,
	} {
		if want == "" {
			want = request
		}
		require.Equal(t, want, string(blank([]byte(request))))
	}
}

// credentials in URLs, in json: file names, and cookies.
func TestBlankURL(t *testing.T) {
	for _, r := range []string{
		`{"execute":"blockdev-add","arguments":{"driver":"https","node-name":"n","url":"https://user:hush@host/x"}}`,
		`{"execute":"blockdev-add","arguments":{"driver":"https","node-name":"n","url":"https://host/x","cookie":"session=hush"}}`,
		`{"execute":"blockdev-add","arguments":{"driver":"raw","file":"json:{\"driver\":\"https\",\"password\":\"hush\"}"}}`,
		`{"execute":"change-backing-file","arguments":{"device":"d","image-node-name":"n","backing-file":"https://u:hush@h/x"}}`,
	} {
		require.NotContains(t, string(blank([]byte(r))), "hush")
	}
}

// What qom-get says of a secret object is not written down.
func TestRepliesAreBlanked(t *testing.T) {
	_, c := startQEMU(t)
	m := NewManager(oneVM{c}, WithPolicy(Policy{Dangerous: Allow}))
	path := filepath.Join(t.TempDir(), "qmp.log")
	tr, err := m.Transcript(t.Context(), "web", path)
	require.NoError(t, err)
	_, err = m.Execute(t.Context(), "web", "object-add", map[string]any{"qom-type": "secret", "id": "s", "data": "hush", "format": "raw"})
	require.NoError(t, err)
	got, err := Call[string](t.Context(), m, "web", "qom-get", map[string]any{"path": "/objects/s", "property": "data"})
	require.NoError(t, err)
	require.Equal(t, "hush", got)
	_, err = m.Execute(t.Context(), "web", "query-name", nil)
	require.NoError(t, err)
	require.NoError(t, tr.Close())
	text := strings.Join(lines(t, path), "\n")
	require.NotContains(t, text, "hush")
	require.Contains(t, text, `<- {"return": "***"}`)
	require.Contains(t, text, `<- {"return": {}}`)
}
