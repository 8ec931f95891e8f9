package main

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// agentClient talks to an agent as a host does.
type agentClient struct {
	t    *testing.T
	conn net.Conn
	br   *bufio.Reader
}

func newAgentClient(t *testing.T) *agentClient {
	t.Helper()
	host, guest := socketPair(t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		newAgent(testReaper, nil).serve(guest)
	}()
	t.Cleanup(func() {
		host.Close()
		<-done
	})
	require.NoError(t, host.SetDeadline(time.Now().Add(20*time.Second)))
	return &agentClient{t: t, conn: host, br: bufio.NewReader(host)}
}

// raw sends text and returns the next line.
func (c *agentClient) raw(text string) string {
	c.t.Helper()
	_, err := c.conn.Write([]byte(text))
	require.NoError(c.t, err)
	line, err := c.br.ReadString('\n')
	require.NoError(c.t, err)
	return strings.TrimSuffix(line, "\n")
}

// call runs a command that must succeed and decodes what it returns.
func (c *agentClient) call(to any, command, args string) {
	c.t.Helper()
	line := c.raw(fmt.Sprintf(`{"execute":%q,"arguments":%s}`, command, args))
	var reply struct{ Return, Error json.RawMessage }
	require.NoError(c.t, json.Unmarshal([]byte(line), &reply))
	require.Empty(c.t, string(reply.Error), command)
	if to != nil {
		require.NoError(c.t, json.Unmarshal(reply.Return, to), line)
	}
}

func TestAgentReplies(t *testing.T) {
	c := newAgentClient(t)
	for request, want := range map[string]string{
		`{"execute":"guest-ping"}`:                                             `{"return":{}}`,
		`{"execute":"guest-ping","arguments":{},"id":"x"}`:                     `{"return":{},"id":"x"}`,
		`{"execute":"guest-sync","arguments":{"id":0}}`:                        `{"return":0}`,
		`{"execute":"guest-fsfreeze-status"}` + "\r\n":                         `{"return":"thawed"}`,
		`{"execute":"nonsense","id":7}`:                                        `{"error":{"class":"CommandNotFound","desc":"The command nonsense has not been found"},"id":7}`,
		`{"arguments":{}}`:                                                     `{"error":{"class":"GenericError","desc":"QMP input lacks member 'execute'"}}`,
		`{"execute":"guest-sync"}`:                                             `{"error":{"class":"GenericError","desc":"Parameter 'id' is missing"}}`,
		`{"execute":"guest-exec-status","arguments":{"pid":1}}`:                `{"error":{"class":"GenericError","desc":"PID not found"}}`,
		`{"execute":"guest-file-read","arguments":{"handle":1}}`:               `{"error":{"class":"GenericError","desc":"handle has not been found"}}`,
		`{"execute":"guest-shutdown","arguments":{"mode":"x"}}`:                `{"error":{"class":"GenericError","desc":"mode is invalid (valid values are: halt|powerdown|reboot)"}}`,
		`{"execute":"guest-file-open","arguments":{"path":"/x","mode":"rw"}}`:  `{"error":{"class":"GenericError","desc":"invalid file open mode 'rw'"}}`,
		`{"execute":"guest-exec","arguments":{"path":"x","capture-output":1}}`: `{"error":{"class":"GenericError","desc":"Parameter 'capture-output' has an unknown value"}}`,
	} {
		require.Equal(t, want, c.raw(request))
	}
}

func TestAgentSyncDelimited(t *testing.T) {
	c := newAgentClient(t)
	// A request cut short, the sentinel, and a whole one.
	line := c.raw(`{"execute":"gue` + "\xff" + `{"execute":"guest-sync-delimited","arguments":{"id":1234}}`)
	require.Equal(t, "\xff"+`{"return":1234}`, line)
}

func TestAgentRecoversFromNonsense(t *testing.T) {
	c := newAgentClient(t)
	require.Contains(t, c.raw("hello there\n"), "JSON parse error")
	require.Contains(t, c.raw(`{"execute":}`), "JSON parse error")
	require.Equal(t, `{"return":{}}`, c.raw(`{"execute":"guest-ping"}`))
	require.Equal(t, `{"return":{}}`, c.raw("\n{\n  \"execute\": \"guest-ping\"\n}\n"))
}

func TestAgentManyRequestsInOneWrite(t *testing.T) {
	c := newAgentClient(t)
	require.Equal(t, `{"return":1}`, c.raw(`{"execute":"guest-sync","arguments":{"id":1}}{"execute":"guest-sync","arguments":{"id":2}}`))
	line, err := c.br.ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, `{"return":2}`+"\n", line)
}

// exec runs a command and waits for its end.
func (c *agentClient) exec(args string) execStatus {
	c.t.Helper()
	var started struct{ PID int }
	c.call(&started, "guest-exec", args)
	for {
		var st execStatus
		c.call(&st, "guest-exec-status", fmt.Sprintf(`{"pid":%d}`, started.PID))
		if st.Exited {
			return st
		}
		time.Sleep(time.Millisecond)
	}
}

func TestAgentExec(t *testing.T) {
	c := newAgentClient(t)
	script := `"path":"sh","arg":["-c","cat; echo $V; echo e >&2; exit 5"],"env":["V=val"],"input-data":"` +
		base64.StdEncoding.EncodeToString([]byte("in\n")) + `"`
	for capture, want := range map[string][2]string{
		`true`: {"in\nval\n", "e\n"}, `"separated"`: {"in\nval\n", "e\n"}, `"merged"`: {"in\nval\ne\n", ""},
		`"stdout"`: {"in\nval\n", ""}, `"stderr"`: {"", "e\n"}, `false`: {"", ""}, `"none"`: {"", ""},
	} {
		st := c.exec(`{` + script + `,"capture-output":` + capture + `}`)
		require.Equal(t, want[0], string(st.OutData), capture)
		require.Equal(t, want[1], string(st.ErrData), capture)
		require.Equal(t, 5, *st.ExitCode)
		require.Nil(t, st.Signal)
	}
	st := c.exec(`{"path":"/bin/sh","arg":["-c","kill -9 $$"]}`)
	require.Equal(t, 9, *st.Signal)
	require.Nil(t, st.ExitCode)
	require.Contains(t, c.raw(`{"execute":"guest-exec","arguments":{"path":"/no/such"}}`), "Failed to execute child process")
}

func TestAgentExecTruncatesOutput(t *testing.T) {
	c := newAgentClient(t)
	st := c.exec(`{"path":"head","arg":["-c","17000000","/dev/zero"],"capture-output":true}`)
	require.True(t, st.OutTruncated)
	require.Len(t, st.OutData, maxCapture)
	require.False(t, st.ErrTruncated)
}

func TestAgentFiles(t *testing.T) {
	c := newAgentClient(t)
	path := filepath.Join(t.TempDir(), "file")
	var h int64
	c.call(&h, "guest-file-open", fmt.Sprintf(`{"path":%q,"mode":"w+"}`, path))
	var wrote fileWriteReply
	c.call(&wrote, "guest-file-write", fmt.Sprintf(`{"handle":%d,"buf-b64":"aGVsbG8gd29ybGQ=","count":9}`, h))
	require.Equal(t, 9, wrote.Count)
	c.call(nil, "guest-file-flush", fmt.Sprintf(`{"handle":%d}`, h))
	var at fileSeekReply
	c.call(&at, "guest-file-seek", fmt.Sprintf(`{"handle":%d,"offset":-3,"whence":"end"}`, h))
	require.EqualValues(t, 6, at.Position)
	var read fileReadReply
	c.call(&read, "guest-file-read", fmt.Sprintf(`{"handle":%d,"count":2}`, h))
	require.Equal(t, fileReadReply{Count: 2, Data: []byte("wo")}, read)
	c.call(&at, "guest-file-seek", fmt.Sprintf(`{"handle":%d,"offset":0,"whence":0}`, h))
	c.call(&read, "guest-file-read", fmt.Sprintf(`{"handle":%d}`, h))
	require.Equal(t, fileReadReply{Count: 9, Data: []byte("hello wor"), EOF: true}, read)
	c.call(nil, "guest-file-close", fmt.Sprintf(`{"handle":%d}`, h))
	require.Contains(t, c.raw(fmt.Sprintf(`{"execute":"guest-file-close","arguments":{"handle":%d}}`, h)), "handle has not been found")
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, "hello wor", string(text))
}

func TestAgentInformation(t *testing.T) {
	c := newAgentClient(t)
	var info guestInfo
	c.call(&info, "guest-info", `{}`)
	names := map[string]commandInfo{}
	for _, command := range info.Commands {
		names[command.Name] = command
	}
	require.True(t, names["guest-exec"].Success)
	require.False(t, names["guest-shutdown"].Success)
	require.Contains(t, names, features[0])

	var now int64
	c.call(&now, "guest-get-time", `{}`)
	require.WithinDuration(t, time.Now(), time.Unix(0, now), time.Minute)

	var host struct {
		Name string `json:"host-name"`
	}
	c.call(&host, "guest-get-host-name", `{}`)
	want, err := os.Hostname()
	require.NoError(t, err)
	require.Equal(t, want, host.Name)

	var system map[string]string
	c.call(&system, "guest-get-osinfo", `{}`)
	require.NotEmpty(t, system["kernel-release"])
	require.NotEmpty(t, system["id"])

	var nics []netInterface
	c.call(&nics, "guest-network-get-interfaces", `{}`)
	for _, nic := range nics {
		if nic.Name == "lo" {
			require.Contains(t, nic.Addresses, netAddress{Type: "ipv4", IP: "127.0.0.1", Prefix: 8})
			return
		}
	}
	t.Fatal("no loopback interface is listed")
}

func TestSplitterAtEveryCut(t *testing.T) {
	text := []byte(`{"a":"}{\"\\","b":{"c":[{}]}} {"d":1}`)
	want := []string{`{"a":"}{\"\\","b":{"c":[{}]}}`, `{"d":1}`}
	for cut := range len(text) {
		var s splitter
		var got []string
		for _, part := range [][]byte{text[:cut], text[cut:]} {
			for len(part) > 0 {
				message, rest, err := s.next(part)
				require.NoError(t, err)
				if message != nil {
					got = append(got, string(message))
				}
				part = rest
			}
		}
		require.Equal(t, want, got, cut)
	}
}

func FuzzSplitter(f *testing.F) {
	f.Add([]byte(`{"a":"\"}"}`))
	f.Add([]byte("junk\n{}\xff{"))
	f.Fuzz(func(t *testing.T, data []byte) {
		var s splitter
		for len(data) > 0 {
			before := len(data)
			_, data, _ = s.next(data)
			require.Less(t, len(data), before, "no progress")
		}
	})
}
