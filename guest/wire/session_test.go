package wire

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestConnectTellsGuestSeedAndTime(t *testing.T) {
	ops := &fakeOps{}
	s := session(t, ops)
	require.Equal(t, Hello{Version: Version, MaxStreams: maxStreams, Features: []string{"test-feature"}}, s.Hello())
	require.Len(t, ops.starts, 1)
	require.Len(t, ops.starts[0].Seed, seedSize)
	require.NotEqual(t, make([]byte, seedSize), ops.starts[0].Seed)
	require.WithinDuration(t, time.Now(), ops.starts[0].Now, time.Minute)
	require.NoError(t, s.Err())
}

func TestConnectWaitsForAGuestThatIsNotThereYet(t *testing.T) {
	host, guest := socketPair(t)
	go func() {
		time.Sleep(50 * time.Millisecond) // the guest boots
		serve(t, guest, &fakeOps{})
	}()
	s, err := Connect(within(t, 5*time.Second), host)
	require.NoError(t, err)
	require.NoError(t, s.Close())
}

func TestConnectEndsWithItsContext(t *testing.T) {
	host, guest := net.Pipe() // takes nothing until it is read
	defer guest.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	began := time.Now()
	_, err := Connect(ctx, host)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Less(t, time.Since(began), 2*time.Second)
}

func TestConnectSkipsWhatAnEarlierHostLeft(t *testing.T) {
	head := controlFrame(frameData, 0, 3, make([]byte, 5000)).buf
	for name, stale := range map[string][]byte{
		"nothing":         {},
		"noise":           []byte("\xa5maqet host syn\xa5\xa5maqet\x00\xa7"),
		"half a header":   head[:5],
		"half a payload":  head[:2000],
		"largest payload": sealedHeader(MaxPayload),
		"an old sync":     staleSync(),
		"half a sync":     staleSync()[frameSize : frameSize+40],
	} {
		t.Run(name, func(t *testing.T) {
			host, guest := socketPair(t)
			serve(t, guest, &fakeOps{})
			_, err := host.Write(append(staleSync(), stale...))
			require.NoError(t, err)
			s, err := Connect(within(t, 5*time.Second), host)
			require.NoError(t, err)
			defer s.Close()
			require.NoError(t, s.Ping(within(t, 5*time.Second)))
		})
	}
}

func staleSync() []byte {
	msg, _ := newSync(time.Now())
	return msg
}

func sealedHeader(n int) []byte {
	f := controlFrame(frameData, 0, 9, make([]byte, n))
	return append([]byte{}, f.buf[:headerSize]...)
}

func TestNewSessionEndsTheOldOnesCommands(t *testing.T) {
	running, ended := make(chan struct{}), make(chan struct{})
	ops := &fakeOps{exec: func(ctx context.Context, _ Command, _ *In, _, out *Out) (ExecResult, error) {
		close(running)
		<-ctx.Done()
		close(ended)
		return ExecResult{}, nil
	}}
	host, guest := socketPair(t)
	serve(t, guest, ops)
	first, second := net.Pipe()
	relay := newRelay(host, second)
	s1, err := Connect(within(t, 5*time.Second), first)
	require.NoError(t, err)
	result := make(chan error, 1)
	go func() {
		_, err := s1.Exec(context.Background(), ExecRequest{Args: []string{"x"}})
		result <- err
	}()
	<-running
	first.Close() // the host dies; nobody tells the guest
	require.Error(t, <-result)
	require.Error(t, s1.Err())
	s1.Close()
	<-relay
	select {
	case <-ended:
		t.Fatal("the guest can't know yet")
	default:
	}
	s2, err := Connect(within(t, 5*time.Second), host)
	require.NoError(t, err)
	defer s2.Close()
	<-ended
	require.NoError(t, s2.Ping(within(t, 5*time.Second)))
}

// newRelay copies between two connections until near closes, and leaves far
// open.
func newRelay(far, near net.Conn) <-chan struct{} {
	done := make(chan struct{})
	go func() {
		defer close(done)
		var back sync.WaitGroup
		back.Go(func() { io.Copy(near, far) })
		io.Copy(far, near)
		far.SetReadDeadline(time.Unix(1, 0))
		back.Wait()
		far.SetReadDeadline(time.Time{})
	}()
	return done
}

func TestExecStreamsAllThreePipes(t *testing.T) {
	ops := &fakeOps{exec: func(_ context.Context, cmd Command, stdin *In, stdout, stderr *Out) (ExecResult, error) {
		text, err := io.ReadAll(stdin)
		fmt.Fprintf(stdout, "%s|%s|%s|%s", text, cmd.Args, cmd.Env, cmd.Dir)
		io.WriteString(stderr, "warning")
		return ExecResult{ExitCode: 3}, err
	}}
	var out, errs bytes.Buffer
	res, err := session(t, ops).Exec(within(t, 5*time.Second), ExecRequest{
		Args: []string{"a", "b c"}, Env: []string{"K=v"}, Dir: "/d",
		Stdin: strings.NewReader("input"), Stdout: &out, Stderr: &errs,
	})
	require.NoError(t, err)
	require.Equal(t, ExecResult{ExitCode: 3}, res)
	require.Equal(t, "input|[a b c]|[K=v]|/d", out.String())
	require.Equal(t, "warning", errs.String())
}

func TestExecMergesEqualWriters(t *testing.T) {
	ops := &fakeOps{exec: func(_ context.Context, cmd Command, _ *In, stdout, _ *Out) (ExecResult, error) {
		require.True(t, cmd.Merge)
		_, err := io.WriteString(stdout, "both")
		return ExecResult{Signal: 15, ExitCode: -1}, err
	}}
	var both bytes.Buffer
	res, err := session(t, ops).Exec(within(t, 5*time.Second), ExecRequest{Args: []string{"x"}, Stdout: &both, Stderr: &both})
	require.NoError(t, err)
	require.Equal(t, ExecResult{Signal: 15, ExitCode: -1}, res)
	require.Equal(t, "both", both.String())
}

func TestOutputArrivesAsItComes(t *testing.T) {
	next := make(chan struct{})
	ops := &fakeOps{exec: func(_ context.Context, _ Command, _ *In, stdout, _ *Out) (ExecResult, error) {
		io.WriteString(stdout, "first")
		stdout.Flush()
		<-next
		return ExecResult{}, nil
	}}
	_, err := session(t, ops).Exec(within(t, 5*time.Second), ExecRequest{
		Args: []string{"x"},
		Stdout: writerFunc(func(p []byte) (int, error) {
			require.Equal(t, "first", string(p))
			close(next)
			return len(p), nil
		}),
	})
	require.NoError(t, err)
}

type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func TestRemoteErrorKeepsItsNumber(t *testing.T) {
	ops := &fakeOps{
		exec: func(context.Context, Command, *In, *Out, *Out) (ExecResult, error) {
			return ExecResult{}, &RemoteError{Op: "exec", Path: "nope", Errno: syscall.EACCES, Msg: "permission denied"}
		},
		read: func(context.Context, *Out) error { return errors.New("odd") },
	}
	s := session(t, ops)
	ctx := within(t, 5*time.Second)
	_, err := s.Stat(ctx, "/missing")
	require.ErrorIs(t, err, fs.ErrNotExist)
	var remote *RemoteError
	require.ErrorAs(t, err, &remote)
	require.Equal(t, RemoteError{Op: "lstat", Path: "/missing", Errno: syscall.ENOENT, Msg: "no such file or directory"}, *remote)
	_, err = s.Exec(ctx, ExecRequest{Args: []string{"nope"}})
	require.ErrorIs(t, err, fs.ErrPermission)
	err = s.ReadFile(ctx, "/x", io.Discard)
	require.EqualError(t, err, "guest: read file: odd")
	require.NoError(t, s.Err())
}

func TestSmallOperations(t *testing.T) {
	ops := &fakeOps{}
	s := session(t, ops)
	ctx := within(t, 5*time.Second)
	info, err := s.Stat(ctx, "/link")
	require.NoError(t, err)
	require.Equal(t, FileInfo{Size: 7, Mode: fs.ModeSymlink | 0o777, ModTime: time.Unix(5, 6), Link: "there"}, info)
	require.NoError(t, s.Reseed(ctx, []byte("seed")))
	require.Equal(t, "seed", string(ops.seed))
	require.NoError(t, s.Reseed(ctx, nil))
	require.Len(t, ops.seed, seedSize)
	require.Error(t, s.Reseed(ctx, make([]byte, maxSeed+1)))
	when := time.Unix(1_700_000_000, 123)
	require.NoError(t, s.SetTime(ctx, when))
	require.True(t, when.Equal(ops.clock))
	_, err = s.Exec(ctx, ExecRequest{})
	require.Error(t, err)
	_, err = s.Exec(ctx, ExecRequest{Args: []string{"x", strings.Repeat("y", MaxPayload)}})
	require.ErrorIs(t, err, syscall.E2BIG)
}

func TestStalledReaderHoldsUpNobodyElse(t *testing.T) {
	var sent atomic.Int64
	ops := &fakeOps{
		read: func(_ context.Context, to *Out) error {
			for {
				if _, err := to.Write(make([]byte, 10_000)); err != nil {
					return err
				}
				sent.Add(10_000)
			}
		},
		exec: cat,
	}
	s := session(t, ops)
	release := make(chan struct{})
	ctx, cancel := context.WithCancel(context.Background())
	stalled := make(chan error, 1)
	go func() {
		stalled <- s.ReadFile(ctx, "/endless", writerFunc(func(p []byte) (int, error) {
			<-release
			return len(p), nil
		}))
	}()
	for range 20 {
		var out bytes.Buffer
		input := bytes.Repeat([]byte("0123456789"), 100_000) // several windows
		_, err := s.Exec(within(t, 10*time.Second), ExecRequest{Args: []string{"cat"}, Stdin: bytes.NewReader(input), Stdout: &out})
		require.NoError(t, err)
		require.True(t, bytes.Equal(input, out.Bytes()))
	}
	require.LessOrEqual(t, sent.Load(), int64(Window+2*frameSize), "the guest sent more than the window")
	cancel()
	require.ErrorIs(t, <-stalled, context.Canceled)
	close(release)
}

func TestCancelStopsTheGuest(t *testing.T) {
	stopped := make(chan struct{}, 1)
	ops := &fakeOps{exec: func(ctx context.Context, cmd Command, in *In, out, errs *Out) (ExecResult, error) {
		defer func() { stopped <- struct{}{} }()
		return hang(ctx, cmd, in, out, errs)
	}}
	s := session(t, ops)
	cause := errors.New("the caller's own cause")
	ctx, cancel := context.WithCancelCause(context.Background())
	time.AfterFunc(20*time.Millisecond, func() { cancel(cause) })
	began := time.Now()
	_, err := s.Exec(ctx, ExecRequest{Args: []string{"sleep"}, Stdout: io.Discard})
	require.ErrorIs(t, err, context.Canceled)
	require.Less(t, time.Since(began), 2*time.Second)
	<-stopped
	require.NoError(t, s.Ping(within(t, 5*time.Second)))
}

func TestCancelReturnsThoughTheGuestIsDeaf(t *testing.T) {
	host, guest := socketPair(t)
	s := connectRaw(t, host, guest)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	began := time.Now()
	// Fills the socket: nobody reads at the other end.
	err := s.WriteFile(ctx, "/x", 0, zeros{})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Less(t, time.Since(began), 2*time.Second)
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

// connectRaw makes a session with a guest that the test itself plays.
func connectRaw(t *testing.T, host, guest net.Conn) *Session {
	t.Helper()
	go func() {
		_, nonce, err := readSync(bufio.NewReader(guest))
		if err == nil {
			guest.Write(newHello(Hello{Version: Version, MaxStreams: 4}, nonce))
		}
	}()
	s, err := Connect(within(t, 5*time.Second), host)
	require.NoError(t, err)
	t.Cleanup(func() {
		guest.Close()
		s.Close()
	})
	return s
}

func TestOtherVersionIsRefused(t *testing.T) {
	host, guest := socketPair(t)
	defer guest.Close()
	go func() {
		_, nonce, _ := readSync(bufio.NewReader(guest))
		guest.Write(newHello(Hello{Version: 2, MaxStreams: 4}, nonce))
	}()
	_, err := Connect(within(t, 5*time.Second), host)
	require.ErrorIs(t, err, ErrProtocol)
}

func TestWriterThatFailsEndsTheCommand(t *testing.T) {
	ops := &fakeOps{exec: func(ctx context.Context, _ Command, _ *In, out, _ *Out) (ExecResult, error) {
		io.WriteString(out, "text")
		out.Flush()
		<-ctx.Done()
		return ExecResult{}, nil
	}}
	full := errors.New("disk full")
	_, err := session(t, ops).Exec(within(t, 5*time.Second), ExecRequest{
		Args: []string{"x"}, Stdout: writerFunc(func([]byte) (int, error) { return 0, full }),
	})
	require.ErrorIs(t, err, full)
}

func TestExecDoesNotWaitForAStuckStdin(t *testing.T) {
	ops := &fakeOps{exec: func(context.Context, Command, *In, *Out, *Out) (ExecResult, error) {
		return ExecResult{ExitCode: 1}, nil
	}}
	r, w := io.Pipe()
	defer w.Close()
	res, err := session(t, ops).Exec(within(t, 5*time.Second), ExecRequest{Args: []string{"x"}, Stdin: r})
	require.NoError(t, err)
	require.Equal(t, 1, res.ExitCode)
}

func TestMoreOperationsThanStreams(t *testing.T) {
	var now, most atomic.Int64
	ops := &fakeOps{exec: func(ctx context.Context, cmd Command, in *In, out, errs *Out) (ExecResult, error) {
		if n := now.Add(1); n > most.Load() {
			most.Store(n)
		}
		defer now.Add(-1)
		return cat(ctx, cmd, in, out, errs)
	}}
	s := session(t, ops)
	var all sync.WaitGroup
	for i := range 4 * maxStreams {
		all.Go(func() {
			want := bytes.Repeat([]byte{byte(i)}, rand.IntN(300_000))
			var out bytes.Buffer
			_, err := s.Exec(within(t, 20*time.Second), ExecRequest{Args: []string{"cat"}, Stdin: bytes.NewReader(want), Stdout: &out})
			if err != nil || !bytes.Equal(want, out.Bytes()) {
				t.Errorf("command %d: %v, %d of %d bytes", i, err, out.Len(), len(want))
			}
		})
	}
	all.Wait()
	require.LessOrEqual(t, most.Load(), int64(maxStreams))
}

func TestCloseEndsOperations(t *testing.T) {
	s := session(t, &fakeOps{exec: hang})
	failed := make(chan error, 1)
	go func() {
		_, err := s.Exec(context.Background(), ExecRequest{Args: []string{"x"}})
		failed <- err
	}()
	time.Sleep(10 * time.Millisecond)
	require.NoError(t, s.Close())
	require.ErrorIs(t, <-failed, ErrClosed)
	require.ErrorIs(t, s.Ping(context.Background()), ErrClosed)
	require.ErrorIs(t, s.Err(), ErrClosed)
	<-s.Done()
	require.NoError(t, s.Close())
}
