package guest_test

import (
	"bytes"
	"context"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/guest"
)

// sshBench is a guest without an agent and a connection to its ssh server.
func sshBench(t *testing.T) (*fakeVM, *sshServer, *guest.SSH) {
	v := newFakeVM(t)
	v.inst.Config.Agent.Disabled = true
	s := newSSHServer(t, nil)
	return v, s, sshTo(t, v.manager(t), s)
}

func TestSSHExec(t *testing.T) {
	_, s, in := sshBench(t)
	ctx := soon(t)
	require.Equal(t, "root", in.User())
	require.Equal(t, []string{"root"}, s.users)

	var out bytes.Buffer
	res, err := in.Exec(ctx, guest.Command{Args: []string{"sh", "-c", `cat; echo "$A" "$PWD"; echo bad >&2; exit 3`},
		Env: []string{"A=a 'b' \"c\"\n$(id)"}, Dir: "/usr", Stdin: strings.NewReader("typed\n"), Stdout: &out})
	var failed *errors.CommandError
	require.ErrorAs(t, err, &failed)
	require.Equal(t, 3, failed.ExitCode)
	require.Equal(t, 3, res.ExitCode)
	require.Equal(t, "typed\na 'b' \"c\"\n$(id) /usr\n", out.String())
	require.Equal(t, "bad\n", string(res.Stderr))

	nasty := []string{"", " ", "'", `"`, "$HOME", "`id`", "a\nb", `\`, "*", "~", "-n", "über", "!x", ";", "'\\''"}
	res, err = in.Exec(ctx, guest.Command{Args: append([]string{"printf", "<%s>"}, nasty...)})
	require.NoError(t, err)
	require.Equal(t, "<"+strings.Join(nasty, "><")+">", string(res.Stdout))

	res, err = in.Exec(ctx, guest.Command{Args: []string{"sh", "-c", "kill -TERM $$"}})
	require.ErrorIs(t, err, errors.ErrCommandFailed)
	require.Equal(t, 15, res.Signal)
	require.Equal(t, -1, res.ExitCode)

	_, err = in.Exec(ctx, guest.Command{Args: []string{"no-such-program"}})
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.ErrorIs(t, err, errors.ErrCommandFailed)
	res, err = in.Exec(ctx, guest.Command{Args: []string{"sh", "-c", "exit 127"}})
	require.NotErrorIs(t, err, fs.ErrNotExist)
	require.Equal(t, 127, res.ExitCode)
	_, err = in.Exec(ctx, guest.Command{Args: []string{"-x"}})
	require.ErrorIs(t, err, errors.ErrCommandFailed)
}

// TestSSHStreams: readers and writers that fail or stand still hold nobody up.
func TestSSHStreams(t *testing.T) {
	_, _, in := sshBench(t)
	ctx := soon(t)
	broken := errors.New("broken")
	_, err := in.Exec(ctx, guest.Command{Args: []string{"sh", "-c", "while :; do echo more; done"}, Stdout: writerFunc(func([]byte) (int, error) { return 0, broken })})
	require.ErrorIs(t, err, broken)
	_, err = in.Exec(ctx, guest.Command{Args: []string{"cat"}, Stdin: io.MultiReader(strings.NewReader("x"), readerFunc(func([]byte) (int, error) { return 0, broken }))})
	require.ErrorIs(t, err, broken, "a program must not take that for the end of its input")

	still, release := io.Pipe()
	defer release.Close()
	_, err = in.Exec(ctx, guest.Command{Args: []string{"true"}, Stdin: still})
	require.NoError(t, err, "a program that has ended is not held up by its input")

	var wg sync.WaitGroup
	for range 20 { // more than OpenSSH takes at once
		wg.Go(func() {
			res, err := in.Exec(ctx, guest.Command{Args: []string{"sh", "-c", "head -c 300000 /dev/zero"}})
			if err != nil || len(res.Stdout) != 300000 {
				t.Errorf("%d bytes, %v", len(res.Stdout), err)
			}
		})
	}
	wg.Wait()
}

// TestSSHWithoutPID: a server that runs something else than it is told writes no PID, and no
// line at all. What it writes is output from the beginning, of which nothing piles up here.
func TestSSHWithoutPID(t *testing.T) {
	_, s, in := sshBench(t)
	s.shell = func(string) string { return "head -c 300000 /dev/zero; exec sleep 60" }
	enough := errors.New("enough")
	var got int
	begun := time.Now()
	_, err := in.Exec(soon(t), guest.Command{Args: []string{"true"}, Stdout: writerFunc(func(p []byte) (int, error) {
		if got += len(p); got >= 300000 {
			return 0, enough
		}
		return len(p), nil
	})})
	require.ErrorIs(t, err, enough)
	require.Less(t, time.Since(begun), 30*time.Second)
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func TestSSHCancel(t *testing.T) {
	_, _, in := sshBench(t)
	file := filepath.Join(t.TempDir(), "pid")
	ctx, cancel := context.WithCancel(soon(t))
	var out bytes.Buffer
	var cancelled time.Time
	go func() {
		for { // until the program has written its PID
			if pid, _ := os.ReadFile(file); len(pid) > 0 {
				break
			}
			time.Sleep(time.Millisecond)
		}
		cancelled = time.Now()
		cancel()
	}()
	_, err := in.Exec(ctx, guest.Command{Args: []string{"sh", "-c", `echo $$ >"$1"; exec sleep 60`, "sh", file}, Stdout: &out})
	require.Less(t, time.Since(cancelled), 2*time.Second)
	require.ErrorIs(t, err, context.Canceled)
	pid, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		_, err := os.Stat("/proc/" + strings.TrimSpace(string(pid)))
		return errors.Is(err, fs.ErrNotExist)
	}, 20*time.Second, 5*time.Millisecond, "the program is killed")
	_, err = in.Exec(soon(t), guest.Command{Args: []string{"true"}})
	require.NoError(t, err, "the connection is still of use")
}

func TestSSHFiles(t *testing.T) {
	_, _, in := sshBench(t)
	ctx, dir := soon(t), t.TempDir()
	at := filepath.Join(dir, "it's a\nfile")
	data := bytes.Repeat([]byte("\x00\xffdata\n"), 50000)
	require.NoError(t, in.WriteFile(ctx, at, data, 0o640))
	back, err := in.ReadFile(ctx, at)
	require.NoError(t, err)
	require.Equal(t, data, back)
	info, err := os.Stat(at)
	require.NoError(t, err)
	require.Equal(t, fs.FileMode(0o640), info.Mode())
	require.NoError(t, in.WriteFile(ctx, "/dev/null", data, 0o600))
	_, err = in.ReadFile(ctx, dir+"/none")
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.ErrorIs(t, in.WriteFile(ctx, dir+"/none/file", data, 0o600), fs.ErrNotExist)
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 1, "nothing is left beside the file")

	tree := filepath.Join(dir, "tree")
	require.NoError(t, os.MkdirAll(filepath.Join(tree, "sub"), 0o750))
	require.NoError(t, os.WriteFile(filepath.Join(tree, "sub", "-file"), data, 0o700))
	require.NoError(t, os.Symlink("sub/-file", filepath.Join(tree, "link")))
	require.NoError(t, in.CopyTo(ctx, tree, filepath.Join(dir, "copy")))
	require.NoError(t, in.CopyFrom(ctx, filepath.Join(dir, "copy"), filepath.Join(dir, "back")))
	for _, top := range []string{"copy", "back"} {
		link, err := os.Readlink(filepath.Join(dir, top, "link"))
		require.NoError(t, err)
		require.Equal(t, "sub/-file", link)
		got, err := os.ReadFile(filepath.Join(dir, top, "sub", "-file"))
		require.NoError(t, err)
		require.True(t, bytes.Equal(data, got))
	}
	require.ErrorIs(t, in.CopyFrom(ctx, dir+"/none", dir), fs.ErrNotExist)
	require.ErrorIs(t, in.CopyTo(ctx, tree, dir+"/none/x"), fs.ErrNotExist)
}

func TestSSHConditions(t *testing.T) {
	_, _, in := sshBench(t)
	dir := t.TempDir()
	time.AfterFunc(50*time.Millisecond, func() { _ = os.WriteFile(dir+"/file", nil, 0o600) })
	require.NoError(t, in.Wait(soon(t), guest.FileExists(dir+"/file"), guest.CommandSucceeds("test", "-f", dir+"/file")))
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	err := in.Wait(ctx, guest.FileExists(dir+"/none"))
	require.ErrorIs(t, err, errors.ErrWaitTimeout)
	require.ErrorContains(t, err, "/none")
}

// TestSSHEnds: a connection ends with its server, its guest and its manager, and says so.
func TestSSHEnds(t *testing.T) {
	sleep := guest.Command{Args: []string{"sleep", "60"}}
	for name, end := range map[string]func(v *fakeVM, s *sshServer, m *guest.Manager, in *guest.SSH){
		"server": func(_ *fakeVM, s *sshServer, _ *guest.Manager, _ *guest.SSH) { s.drop() },
		"guest": func(v *fakeVM, _ *sshServer, _ *guest.Manager, _ *guest.SSH) {
			v.die(&errors.GuestError{Kind: errors.ErrGuestPanic, VM: "box"})
		},
		"manager": func(_ *fakeVM, _ *sshServer, m *guest.Manager, _ *guest.SSH) { _ = m.Close() },
		"close":   func(_ *fakeVM, _ *sshServer, _ *guest.Manager, in *guest.SSH) { _ = in.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			v := newFakeVM(t)
			v.inst.Config.Agent.Disabled = true
			s, m := newSSHServer(t, nil), v.manager(t)
			in := sshTo(t, m, s)
			time.AfterFunc(50*time.Millisecond, func() { end(v, s, m, in) })
			err := within(t, 10*time.Second, func() error { _, err := in.Exec(soon(t), sleep); return err })
			require.Error(t, err)
			if name == "guest" {
				require.ErrorIs(t, err, errors.ErrGuestPanic)
				return
			}
			require.ErrorIs(t, err, errors.ErrAgentUnavailable)
			select {
			case <-in.Done():
			case <-time.After(10 * time.Second):
				t.Fatal("not done")
			}
			_, err = in.Exec(soon(t), sleep)
			require.ErrorIs(t, err, errors.ErrGuest)
		})
	}
}
