package main

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Each of these tests does something that it must not do to the machine of a developer, or to
// another test, and leaves it so.

func TestFixtures(t *testing.T) {
	s := newService(t)
	s.has("key%201", "value 1")
	s.has(fmt.Sprint("key%20", fixtures), fmt.Sprint("value ", fixtures))
	_, keys := s.do("GET", "/keys", "")
	require.Len(t, strings.Split(keys, "\n"), fixtures)
}

func TestChanges(t *testing.T) {
	s := newService(t)
	s.put("new", "one")
	s.put("new", "another")
	s.has("new", "another")
	status, _ := s.do("DELETE", "/v/key%201", "")
	require.Equal(t, http.StatusOK, status)
	s.lacks("key%201")
	_, keys := s.do("GET", "/keys?prefix=n", "")
	require.Equal(t, "new", keys)
}

func TestWritersAtOnce(t *testing.T) {
	s := newService(t)
	var all sync.WaitGroup
	for i := range 3 {
		all.Go(func() { _, _, _ = s.try("PUT", "/v/same", strings.Repeat(fmt.Sprint(i), 10_000)) })
	}
	all.Wait()
	status, value := s.do("GET", "/v/same", "")
	require.Equal(t, http.StatusOK, status)
	require.Equal(t, strings.Repeat(value[:1], 10_000), value, "one of them, whole")
}

func TestTooLarge(t *testing.T) {
	s := newService(t)
	status, _ := s.do("PUT", "/v/large", strings.Repeat("x", largest+1))
	require.Equal(t, http.StatusRequestEntityTooLarge, status)
	s.lacks("large")
}

func TestDiskFull(t *testing.T) {
	s := newService(t)
	s.sh("dd if=/dev/zero of=/data/filler bs=64k 2>/dev/null; true") // until there is no space
	status, _ := s.do("PUT", "/v/key%201", strings.Repeat("x", 5000))
	require.Equal(t, http.StatusInsufficientStorage, status)
	s.has("key%201", "value 1")
	require.Equal(t, "/data/kv/lock /data/kv/values", s.sh("echo /data/kv/*; exec rm /data/filler"), "nothing half written is left")
	s.put("key%201", "changed")
	s.has("key%201", "changed")
}

func TestReadOnly(t *testing.T) {
	s := newService(t)
	s.Run("mount", "-o", "remount,ro", "/data")
	status, _ := s.do("PUT", "/v/key%201", "changed")
	require.Equal(t, http.StatusServiceUnavailable, status)
	s.has("key%201", "value 1")
}

func TestDamage(t *testing.T) {
	s := newService(t)
	file := (&store{dir: "/data/kv"}).path("key 1")
	data := s.ReadFile(file)
	data[len(data)-1] ^= 1
	s.WriteFile(file, data, 0o600)
	status, answer := s.do("GET", "/v/key%201", "")
	require.Equal(t, http.StatusInternalServerError, status)
	require.Contains(t, answer, "damaged")
	s.has("key%202", "value 2")
}

func TestKilled(t *testing.T) {
	s := newService(t)
	for i := range 3 {
		s.put(fmt.Sprint(i), "it is there")
	}
	s.Start("sh", "-c", end("KILL")+"; exec kv serve /data/kv :8080")
	s.WaitFor(answers)
	for i := range 3 {
		s.has(fmt.Sprint(i), "it is there")
	}
}

// TestPowerFails looks at what is on the disk itself when a value has been acknowledged.
func TestPowerFails(t *testing.T) {
	s := newService(t)
	s.put("kept", "through a power failure")
	s.Run("dd", "if=/dev/vda", "of=/dev/vdb", "bs=1M", "iflag=direct")
	s.Run("mount", "-t", "ext2", "/dev/vdb", "/copy")
	value, _, err := decode(s.ReadFile((&store{dir: "/copy/kv"}).path("kept")))
	require.NoError(t, err)
	require.Equal(t, "through a power failure", string(value))
}

func TestExpiry(t *testing.T) {
	s := newService(t)
	status, _ := s.do("PUT", "/v/session?ttl=1h", "of a user")
	require.Equal(t, http.StatusOK, status)
	for after, there := range map[time.Duration]bool{50 * time.Minute: true, 70 * time.Minute: false} {
		require.NoError(t, s.Maqet.Guest.SetTime(t.Context(), s.ID(), time.Now().Add(after)))
		status, _ := s.do("GET", "/v/session", "")
		require.Equal(t, there, status == http.StatusOK, "after %v: %d", after, status)
	}
}

func TestEnd(t *testing.T) {
	s := newService(t)
	s.sh(end("TERM"))
	_, _, err := s.try("GET", "/v/key%201", "")
	require.ErrorIs(t, err, syscall.ECONNREFUSED)
}

func TestSecondService(t *testing.T) {
	s := newService(t)
	res, err := s.Exec(t.Context(), "kv", "serve", "/data/kv", ":8081")
	require.Error(t, err)
	require.Equal(t, exitInUse, res.ExitCode)
	s.has("key%201", "value 1")
}
