package main

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

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
	for i := range 8 {
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
	s.sh("dd if=/dev/zero of=/data/filler bs=64k 2>/dev/null; true")
	status, _ := s.do("PUT", "/v/key%201", strings.Repeat("x", 100_000))
	require.Equal(t, http.StatusInsufficientStorage, status)
	s.has("key%201", "value 1")
	require.Empty(t, s.sh("ls /data/kv | grep new-; true"), "nothing half written is left")
	s.sh("rm /data/filler")
	s.put("key%201", "changed")
	s.has("key%201", "changed")
}

func TestReadOnly(t *testing.T) {
	s := newService(t)
	s.sh("kill -STOP $(cat /run/kv.pid); mount -o remount,ro /data && kill -CONT $(cat /run/kv.pid)")
	status, _ := s.do("PUT", "/v/key%201", "changed")
	require.Equal(t, http.StatusServiceUnavailable, status)
	s.has("key%201", "value 1")
}

func TestDamage(t *testing.T) {
	s := newService(t)
	s.put("spoilt", "a value")
	s.sh("printf b | dd of=$(grep -l 'a value' /data/kv/values/*) bs=1 seek=%d conv=notrunc 2>/dev/null", headSize)
	status, answer := s.do("GET", "/v/spoilt", "")
	require.Equal(t, http.StatusInternalServerError, status)
	require.Contains(t, answer, "damaged")
	s.has("key%201", "value 1")
}

func TestKilled(t *testing.T) {
	s := newService(t)
	acknowledged := make(chan int)
	go func() {
		defer close(acknowledged)
		for i := 0; ; i++ {
			if status, _, err := s.try("PUT", fmt.Sprint("/v/", i), "it is there"); err != nil || status != http.StatusOK {
				return
			}
			acknowledged <- i
		}
	}()
	for last := range acknowledged {
		if last == 10 {
			go s.sh(stop, "KILL")
		}
	}
	s.sh(start)
	s.await()
	for i := range 11 {
		s.has(fmt.Sprint(i), "it is there")
	}
}

// TestPowerFails looks at what is on the disk itself when a value has been acknowledged.
func TestPowerFails(t *testing.T) {
	s := newService(t)
	s.put("kept", "through a power failure")
	s.sh("kill -STOP $(cat /run/kv.pid); dd if=/dev/vda of=/dev/vdb bs=1M iflag=direct 2>/dev/null")
	s.sh("mkdir /copy && mount -t ext2 /dev/vdb /copy && grep -q 'through a power failure' /copy/kv/values/*")
}

func TestExpiry(t *testing.T) {
	s := newService(t)
	status, _ := s.do("PUT", "/v/session?ttl=1h", "of a user")
	require.Equal(t, http.StatusOK, status)
	s.has("session", "of a user")
	s.sh("date -s @$(($(date +%%s) + 3599 - 60))")
	s.has("session", "of a user")
	s.sh("date -s @$(($(date +%%s) + 120))")
	s.lacks("session")
}

func TestEnd(t *testing.T) {
	s := newService(t)
	s.sh(stop, "TERM")
	_, _, err := s.try("GET", "/v/key%201", "")
	require.Error(t, err)
	s.sh(start)
	s.await()
	s.has("key%201", "value 1")
}

func TestSecondService(t *testing.T) {
	s := newService(t)
	res, err := s.Exec(t.Context(), "kv", "serve", "/data/kv", ":8081")
	require.Error(t, err)
	require.Equal(t, exitInUse, res.ExitCode)
	s.has("key%201", "value 1")
}
