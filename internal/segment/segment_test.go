//go:build linux

package segment_test

import (
	"encoding/binary"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/maqet/maqet/internal/segment"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv("SEGMENT_MEMBER"); dir != "" {
		beMember(dir)
	}
	goleak.VerifyTestMain(m)
}

// limit is how long a test waits for what must come.
const limit = 30 * time.Second

// quiet is how long a test waits for what must not come.
const quiet = 50 * time.Millisecond

func folder(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "segment") // t.TempDir's paths may be too long for sockets
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	return dir
}

func join(t testing.TB, dir string) *segment.Member {
	t.Helper()
	m, err := segment.Join(dir, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, m.Close()) })
	return m
}

// card is what QEMU has for a network card.
type card struct {
	t    testing.TB
	conn *net.UnixConn
	to   *net.UnixAddr
	mac  byte
}

func plug(t testing.TB, dir string, mac byte) *card {
	t.Helper()
	path := segment.PortPath(dir, fmt.Sprint("card", mac))
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() }) // a test may have closed it
	require.NoError(t, os.Chmod(path, 0o600))
	return &card{t: t, conn: conn, to: &net.UnixAddr{Name: segment.SwitchPath(dir), Net: "unixgram"}, mac: mac}
}

func mac(n byte) []byte { return []byte{0x52, 0x54, 0, 0, 0, n} }

var broadcast = []byte{255, 255, 255, 255, 255, 255}

func ethernet(to, from []byte, payload string) []byte {
	f := append(append([]byte{}, to...), from...)
	return append(binary.BigEndian.AppendUint16(f, 0x88b5), payload...)
}

func (c *card) send(to []byte, payload string) { c.raw(ethernet(to, mac(c.mac), payload)) }

func (c *card) raw(frame []byte) {
	c.t.Helper()
	_, err := c.conn.WriteTo(frame, c.to)
	require.NoError(c.t, err)
}

// gets returns the payload of the next frame.
func (c *card) gets() string {
	c.t.Helper()
	got, err := c.next(limit)
	require.NoError(c.t, err)
	return got
}

// hello is what awaits sends, as often as it takes.
const hello = "hello"

func (c *card) next(wait time.Duration) (string, error) {
	buf := make([]byte, 1<<16)
	if err := c.conn.SetReadDeadline(time.Now().Add(wait)); err != nil {
		return "", err
	}
	for {
		n, err := c.conn.Read(buf)
		if err != nil {
			return "", err
		}
		if got := string(buf[14:n]); got != hello {
			return got, nil
		}
	}
}

func (c *card) getsNothing() {
	c.t.Helper()
	got, err := c.next(quiet)
	require.ErrorIs(c.t, err, os.ErrDeadlineExceeded, "got %q", got)
}

// awaits sends until the other card gets it: the switch learns of a card by events.
func (c *card) awaits(other *card) {
	c.t.Helper()
	buf := make([]byte, 64)
	require.Eventually(c.t, func() bool {
		if _, err := c.conn.WriteTo(ethernet(broadcast, mac(c.mac), hello), c.to); err != nil {
			return false // there is no switch at the moment
		}
		if err := other.conn.SetReadDeadline(time.Now().Add(quiet)); err != nil {
			return false
		}
		n, err := other.conn.Read(buf)
		return err == nil && string(buf[14:n]) == hello
	}, limit, time.Millisecond)
}

func TestFramesReachWhomTheyAreFor(t *testing.T) {
	dir := folder(t)
	join(t, dir)
	a, b, c := plug(t, dir, 1), plug(t, dir, 2), plug(t, dir, 3)
	a.awaits(b)
	a.awaits(c)

	a.send(mac(9), "to a stranger")
	require.Equal(t, "to a stranger", b.gets(), "what nobody is known for goes to all")
	require.Equal(t, "to a stranger", c.gets())
	b.send(mac(1), "answer")
	require.Equal(t, "answer", a.gets())
	c.getsNothing()
	a.send(mac(2), "to b")
	require.Equal(t, "to b", b.gets())
	c.getsNothing()
	c.send(broadcast, "to all")
	require.Equal(t, "to all", a.gets())
	require.Equal(t, "to all", b.gets())
	c.getsNothing()
	a.send(mac(1), "to myself")
	for _, other := range []*card{a, b, c} {
		other.getsNothing()
	}
}

func TestWhatIsNoFrameIsDropped(t *testing.T) {
	dir := folder(t)
	join(t, dir)
	a, b := plug(t, dir, 1), plug(t, dir, 2)
	a.awaits(b)
	for name, frame := range map[string][]byte{
		"empty":             {},
		"no whole header":   ethernet(broadcast, mac(1), "")[:13],
		"too long":          ethernet(broadcast, mac(1), strings.Repeat("x", 9005)),
		"from a group":      ethernet(broadcast, broadcast, "x"),
		"from nobody":       ethernet(broadcast, make([]byte, 6), "x"),
		"much, much longer": ethernet(broadcast, mac(1), strings.Repeat("x", 65000)),
	} {
		a.raw(frame)
		t.Log(name)
		b.getsNothing()
	}
	longest := strings.Repeat("x", 9004)
	a.send(mac(2), longest)
	require.Equal(t, longest, b.gets())
}

func TestNobodyOutsideTheFolderIsHeard(t *testing.T) {
	dir := folder(t)
	join(t, dir)
	a, b := plug(t, dir, 1), plug(t, dir, 2)
	a.awaits(b)
	nameless, err := net.DialUnix("unixgram", nil, a.to)
	require.NoError(t, err)
	defer nameless.Close()
	_, err = nameless.Write(ethernet(broadcast, mac(7), "x"))
	require.NoError(t, err)
	elsewhere := plug(t, folder(t), 8)
	_, err = elsewhere.conn.WriteTo(ethernet(broadcast, mac(8), "x"), a.to)
	require.NoError(t, err)
	b.getsNothing()
}

// A card that takes nothing must not keep the others from talking.
func TestACardThatIsStuckDelaysNobody(t *testing.T) {
	dir := folder(t)
	m := join(t, dir)
	a, b, stuck := plug(t, dir, 1), plug(t, dir, 2), plug(t, dir, 3)
	a.awaits(b)
	a.awaits(stuck)
	for i := range 2000 {
		want := fmt.Sprint("flood ", i)
		a.send(broadcast, want)
		require.Equal(t, want, b.gets())
	}
	first := stuck.gets()
	require.Equal(t, "flood 0", first, "what it did not take at once waits for it")
	require.NoError(t, m.Close(), "while frames wait")
}

func TestACardComesBackWithAnotherSocket(t *testing.T) {
	dir := folder(t)
	join(t, dir)
	a, b := plug(t, dir, 1), plug(t, dir, 2)
	a.awaits(b)
	require.NoError(t, b.conn.Close())
	require.NoError(t, segment.RemovePorts(dir, "card2"))
	b = plug(t, dir, 2)
	a.awaits(b)
	a.send(mac(2), "again")
	require.Equal(t, "again", b.gets())
}

// One machine that makes addresses up must not make the switch forget the others.
func TestMadeUpAddressesPushOutOnlyTheirOwn(t *testing.T) {
	dir := folder(t)
	join(t, dir)
	a, b, c := plug(t, dir, 1), plug(t, dir, 2), plug(t, dir, 3)
	a.awaits(b)
	a.awaits(c)
	b.send(mac(1), "I am b")
	require.Equal(t, "I am b", a.gets())
	for i := range 2000 {
		c.raw(ethernet(mac(3), []byte{2, 0, 0, 1, byte(i >> 8), byte(i)}, "x"))
	}
	for _, other := range []*card{a, b} {
		require.Eventually(t, func() bool { // a frame can be dropped as long as many wait
			c.send(broadcast, "done")
			got, err := other.next(quiet)
			for ; err == nil && got != "done"; got, err = other.next(quiet) {
				continue
			}
			return got == "done"
		}, limit, time.Millisecond)
	}
	a.send(mac(2), "still known")
	got := b.gets()
	for got == "done" { // as often as c has said it
		got = b.gets()
	}
	require.Equal(t, "still known", got)
	a.send(broadcast, "to all")
	require.Equal(t, "to all", c.gets(), "and nothing before")
}

func TestAnotherMemberTakesOver(t *testing.T) {
	dir := folder(t)
	first := join(t, dir)
	join(t, dir)
	a, b := plug(t, dir, 1), plug(t, dir, 2)
	a.awaits(b)
	require.NoError(t, first.Close())
	a.awaits(b)
	a.send(broadcast, "onward")
	require.Equal(t, "onward", b.gets())
}

// beMember is a process on a segment until it is killed.
func beMember(dir string) {
	_, err := segment.Join(dir, slog.New(slog.DiscardHandler))
	fmt.Println("joined", err)
	select {}
}

func TestTheSwitchSurvivesTheDeathOfItsProcess(t *testing.T) {
	dir := folder(t)
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), "SEGMENT_MEMBER="+dir)
	child.SysProcAttr = &unix.SysProcAttr{Pdeathsig: unix.SIGKILL}
	out, err := child.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, child.Start())
	line := make([]byte, 64)
	n, err := out.Read(line)
	require.NoError(t, err)
	require.Equal(t, "joined <nil>\n", string(line[:n]))

	join(t, dir)
	a, b, silent := plug(t, dir, 1), plug(t, dir, 2), plug(t, dir, 3)
	a.awaits(b)
	require.NoError(t, child.Process.Kill())
	require.Error(t, child.Wait())
	a.awaits(b)
	a.send(broadcast, "to all")
	for silent.gets() != "to all" { // it has never sent anything
		continue
	}
}

func TestSweepRemovesOnlyWhatIsDead(t *testing.T) {
	dir := folder(t)
	require.NoError(t, segment.Sweep(filepath.Join(dir, "none")))
	m := join(t, dir)
	plug(t, dir, 1)
	require.NoError(t, segment.Sweep(dir))
	require.FileExists(t, segment.SwitchPath(dir), "it is in use")
	require.NoError(t, m.Close())
	require.NoFileExists(t, segment.SwitchPath(dir))

	dead, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: segment.SwitchPath(dir), Net: "unixgram"})
	require.NoError(t, err)
	require.NoError(t, dead.Close())
	require.NoError(t, segment.Sweep(dir))
	require.NoFileExists(t, segment.SwitchPath(dir))

	require.NoError(t, os.WriteFile(segment.PortPath(dir, "card7"), nil, 0o600))
	require.NoError(t, segment.RemovePorts(dir, "card"))
	require.NoFileExists(t, segment.PortPath(dir, "card1"))
	require.FileExists(t, segment.PortPath(dir, "card7"), "somebody's file")
	require.NoError(t, segment.RemovePorts(filepath.Join(dir, "none"), ""))
}

func TestASocketIsForItsOwnerOnly(t *testing.T) {
	dir := folder(t)
	join(t, dir)
	info, err := os.Stat(segment.SwitchPath(dir))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
}
