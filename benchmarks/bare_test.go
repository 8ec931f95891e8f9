package benchmarks

import (
	"bufio"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// bare is a QEMU that is run without maqet: executed, and nothing else.
type bare struct {
	b     *testing.B
	cmd   *exec.Cmd
	begun time.Time
	paths []string // of the sockets, in the order of their descriptors
}

// inherited finds fd=N in the arguments of a guest that maqet started: descriptors of
// sockets that listen.
func inherited(args []string) int {
	n := 0
	for _, a := range args {
		if strings.HasPrefix(a, "socket,") && strings.Contains(a, ",fd=") {
			n++
		}
	}
	return n
}

// inheritedMemory matches the memory of a guest that can be a template, or continues from one: a
// file that QEMU inherits, before the sockets.
var inheritedMemory = regexp.MustCompile(`"mem-path":"/proc/self/fd/3".*"size":(\d+)`)

// memory returns an empty file for the memory of the guest, nil if it has none of its own.
func memory(b *testing.B, args []string) *os.File {
	b.Helper()
	for _, a := range args {
		if m := inheritedMemory.FindStringSubmatch(a); m != nil {
			size, err := strconv.ParseInt(m[1], 10, 64)
			require.NoError(b, err)
			fd, err := unix.MemfdCreate("bare", unix.MFD_CLOEXEC)
			require.NoError(b, err)
			f := os.NewFile(uintptr(fd), "bare")
			require.NoError(b, f.Truncate(size))
			return f
		}
	}
	return nil
}

// startBare executes args, with an empty memory where they expect one, and a listening socket
// for each descriptor, from 3 upward. The clock runs from just before the exec.
func startBare(b *testing.B, args []string) *bare {
	b.Helper()
	dir, err := os.MkdirTemp("", "bare-")
	require.NoError(b, err)
	b.Cleanup(func() { _ = os.RemoveAll(dir) })
	q := &bare{b: b, cmd: exec.Command(args[0], args[1:]...)}
	if f := memory(b, args); f != nil {
		defer f.Close()
		q.cmd.ExtraFiles = append(q.cmd.ExtraFiles, f)
	}
	for i := range inherited(args) {
		path := filepath.Join(dir, strconv.Itoa(i))
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
		require.NoError(b, err)
		l.SetUnlinkOnClose(false)
		f, err := l.File()
		require.NoError(b, err)
		require.NoError(b, l.Close())
		defer f.Close()
		q.paths = append(q.paths, path)
		q.cmd.ExtraFiles = append(q.cmd.ExtraFiles, f)
	}
	q.cmd.Stderr = os.Stderr
	q.begun = time.Now()
	require.NoError(b, q.cmd.Start())
	return q
}

// dial connects to the socket of the n-th descriptor.
func (q *bare) dial(n int) net.Conn {
	q.b.Helper()
	conn, err := net.Dial("unix", q.paths[n])
	require.NoError(q.b, err)
	return conn
}

// handshake returns how long after the exec QEMU greeted, and answered qmp_capabilities.
func (q *bare) handshake(n int) (greeting, answer time.Duration) {
	q.b.Helper()
	conn := q.dial(n)
	defer conn.Close()
	in := bufio.NewReader(conn)
	_, err := in.ReadString('\n')
	require.NoError(q.b, err)
	greeting = time.Since(q.begun)
	_, err = conn.Write([]byte(`{"execute":"qmp_capabilities"}`))
	require.NoError(q.b, err)
	_, err = in.ReadString('\n')
	require.NoError(q.b, err)
	return greeting, time.Since(q.begun)
}

// end kills QEMU and waits for it.
func (q *bare) end() {
	_ = q.cmd.Process.Kill()
	_ = q.cmd.Wait()
}

// argument returns what follows the option in args.
func argument(b *testing.B, args []string, option string) string {
	b.Helper()
	i := slices.Index(args, option)
	require.GreaterOrEqual(b, i, 0, option)
	return args[i+1]
}
