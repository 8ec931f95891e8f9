package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet"
	"github.com/maqet/maqet/guest"
	"github.com/maqet/maqet/maqettest"
	"github.com/maqet/maqet/vm"
)

const (
	fixtures = 1000       // how many values each test finds
	diskSize = 4 * vm.MiB // of the disk that they are on
)

// prepared is what each test works in: a guest with a disk for the data, and a spare one, in which
// the service runs.
var prepared = []maqettest.Option{
	maqettest.Config(vm.Config{Disks: []vm.Disk{{Name: "data", Size: diskSize}, {Name: "spare", Size: diskSize}}}),
	maqettest.Setup(prepare),
}

// base boots once, for all tests.
var base = maqettest.NewTemplate(prepared...)

// prepare sets a guest up: a file system with values in it, and the service, which answers then.
func prepare(ctx context.Context, g *maqet.Machine) error {
	if err := g.CopyTo(ctx, program, "/bin/kv"); err != nil {
		return err
	}
	for _, line := range []string{
		"mke2fs -q -i 2048 /dev/vda && mkdir /data /copy && mount -t ext2 /dev/vda /data",
		fmt.Sprint("kv load /data/kv ", fixtures),
		"start-stop-daemon -S -b -m -p /run/kv.pid -x /bin/kv -- serve /data/kv :8080",
	} {
		if _, err := g.Exec(ctx, "sh", "-c", line); err != nil {
			return err
		}
	}
	return g.WaitFor(ctx, answers)
}

// answers holds when the service does.
var answers = guest.HTTPOK(8080, "/keys?prefix=none")

// end returns the line of shell that ends the service by a signal, and waits until it is gone.
func end(signal string) string {
	return "read pid < /run/kv.pid; kill -" + signal + " $pid; while [ -e /proc/$pid ]; do :; done"
}

// envBoot is the environment variable that has each test boot and prepare a guest, to compare.
const envBoot = "FORKTESTS_BOOT"

// service is the service in a guest that a test has to itself.
type service struct {
	*maqettest.Guest
	t    *testing.T
	http http.Client
}

func newService(t *testing.T) *service {
	t.Helper()
	var g *maqettest.Guest
	if os.Getenv(envBoot) == "" {
		g = base.Fork(t)
	} else {
		g = maqettest.Boot(t, prepared...)
	}
	s := &service{g, t, http.Client{Transport: &http.Transport{DialContext: g.Dial}}}
	t.Cleanup(s.http.CloseIdleConnections)
	return s
}

// do sends a request and returns the answer's status and body.
func (s *service) do(method, path, body string) (int, string) {
	s.t.Helper()
	status, answer, err := s.try(method, path, body)
	require.NoError(s.t, err)
	return status, answer
}

func (s *service) try(method, path, body string) (int, string, error) {
	req, err := http.NewRequestWithContext(s.t.Context(), method, "http://localhost:8080"+path, strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	res, err := s.http.Do(req)
	if err != nil {
		return 0, "", err
	}
	answer, err := io.ReadAll(res.Body)
	return res.StatusCode, string(answer), errors.Join(err, res.Body.Close())
}

// put puts a value, which must succeed.
func (s *service) put(key, value string) {
	s.t.Helper()
	status, answer := s.do("PUT", "/v/"+key, value)
	require.Equal(s.t, http.StatusOK, status, answer)
}

// has requires a value.
func (s *service) has(key, value string) {
	s.t.Helper()
	status, answer := s.do("GET", "/v/"+key, "")
	require.Equal(s.t, http.StatusOK, status, answer)
	require.Equal(s.t, value, answer)
}

// lacks requires that a key has no value.
func (s *service) lacks(key string) {
	s.t.Helper()
	status, answer := s.do("GET", "/v/"+key, "")
	require.Equal(s.t, http.StatusNotFound, status, answer)
}

// sh runs a line of shell in the guest, which must succeed, and returns what it
// printed.
func (s *service) sh(line string) string {
	s.t.Helper()
	return strings.TrimSpace(string(s.Run("sh", "-c", line).Stdout))
}

// program is the path of the service, compiled for the guest.
var program string

func TestMain(m *testing.M) { os.Exit(compiled(m)) }

// compiled compiles the service and runs the tests.
func compiled(m *testing.M) int {
	dir, err := os.MkdirTemp("", "kv-")
	if err == nil {
		defer os.RemoveAll(dir)
		program = filepath.Join(dir, "kv")
		cmd := exec.Command("go", "build", "-o", program, "github.com/maqet/maqet/examples/forktests/kv")
		cmd.Env, cmd.Stderr = append(os.Environ(), "CGO_ENABLED=0"), os.Stderr
		err = cmd.Run()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "kv is not compiled:", err)
		return 1
	}
	return maqettest.Main(m)
}
