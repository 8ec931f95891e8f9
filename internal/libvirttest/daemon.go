//go:build linux

package libvirttest

import (
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/digitalocean/go-libvirt"
)

const (
	// startTimeout is for machines that are busy; QEMU is asked for its abilities meanwhile.
	startTimeout = 2 * time.Minute
	stopTimeout  = 20 * time.Second
	// cantMount is the exit status of daemon.sh when the namespace can't be furnished.
	cantMount = 77
)

//go:embed daemon.sh
var script string

// Daemon is a running libvirtd. Its methods are safe for concurrent use.
type Daemon struct {
	tree   tree
	driver libvirt.ConnectURI
	cmd    *exec.Cmd
	done   chan struct{} // closed when daemon.sh has ended
	host   *Host         // nil: it is in this process's network
	stop   sync.Once
}

// Start starts a libvirtd, returns when it answers, and ends it with tb. It skips tb
// where there is no libvirtd or root may not make namespaces, and fails it there when
// the environment has MAQET_REQUIRE=1.
//
// Starting is slow: tests of one package should share a daemon, as subtests of one test
// or through a [Shared].
func Start(tb testing.TB) *Daemon {
	tb.Helper()
	d, err := start()
	check(tb, err)
	tb.Cleanup(func() {
		if err := d.Stop(); err != nil {
			tb.Error(err)
		}
	})
	return d
}

// Shared is a daemon for all tests of a package. Its zero value is ready: a variable of
// the test's package that TestMain stops.
type Shared struct {
	once sync.Once
	d    *Daemon
	err  error
}

// Get returns the daemon, which the first call starts. It skips or fails tb as [Start]
// does.
func (s *Shared) Get(tb testing.TB) *Daemon {
	tb.Helper()
	s.once.Do(func() { s.d, s.err = start() })
	check(tb, s.err)
	return s.d
}

// Stop ends the daemon, if one was started. Nobody may call Get any more.
func (s *Shared) Stop() error {
	if s.d == nil {
		return nil
	}
	return s.d.Stop()
}

// missing is why no daemon can run here, for reasons that are not the code's.
type missing string

func (m missing) Error() string { return string(m) }

func check(tb testing.TB, err error) {
	tb.Helper()
	var m missing
	switch {
	case err == nil:
	case errors.As(err, &m) && os.Getenv("MAQET_REQUIRE") != "1":
		tb.Skip(err)
	default:
		tb.Fatal(err)
	}
}

func start() (_ *Daemon, err error) {
	system := os.Geteuid() == 0
	binary, err := findLibvirtd(system)
	if err != nil {
		return nil, err
	}
	dir, err := makeTree(system)
	if err != nil {
		return nil, err
	}
	d := &Daemon{tree: dir, driver: libvirt.QEMUSession, done: make(chan struct{})}
	if system {
		d.driver = libvirt.QEMUSystem
	}
	if err := d.launch(binary); err != nil {
		return nil, errors.Join(err, dir.remove())
	}
	if err := d.ready(); err != nil {
		err = d.diagnose(err)
		return nil, errors.Join(err, d.Stop())
	}
	return d, nil
}

const installHint = "run scripts/setup.sh --test, or apt-get install --no-install-recommends " +
	"libvirt-daemon libvirt-daemon-driver-qemu libvirt-clients"

// findLibvirtd finds libvirtd, also for users without /usr/sbin in their PATH.
func findLibvirtd(system bool) (string, error) {
	if _, err := os.Stat("/etc/libvirt"); system && err != nil {
		return "", missing("there is no /etc/libvirt to mount a private one on: " + installHint)
	}
	for _, name := range []string{"libvirtd", "/usr/sbin/libvirtd"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", missing("libvirtd is missing: " + installHint)
}

// launch executes daemon.sh. libvirtd gets a socket that listens already, so that a
// connection can be made at once and is answered when libvirtd is ready: there is
// nothing to wait for before, and when libvirtd dies instead, the connection ends.
func (d *Daemon) launch(binary string) error {
	socket, err := listen(d.Socket())
	if err != nil {
		return err
	}
	defer func() { _ = socket.Close() }()
	log, err := os.OpenFile(d.tree.log(), os.O_CREATE|os.O_EXCL|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()

	mode := "session"
	attr := &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGTERM}
	if d.driver == libvirt.QEMUSystem {
		mode = "system"
		attr.Cloneflags = syscall.CLONE_NEWNS | syscall.CLONE_NEWPID
	}
	d.cmd = exec.Command("/bin/sh", "-c", script, "daemon.sh", string(d.tree), mode, binary)
	d.cmd.Env = d.tree.environ()
	if d.host == nil {
		d.cmd.Env = append(d.cmd.Env, "LISTEN_FDS=1", "LISTEN_FDNAMES=libvirtd.socket")
	}
	d.cmd.Dir = "/"
	d.cmd.Stdout, d.cmd.Stderr = log, log
	d.cmd.ExtraFiles = []*os.File{socket}
	d.cmd.SysProcAttr = attr
	started := make(chan error)
	go d.run(started)
	err = <-started
	if errors.Is(err, syscall.EPERM) && mode == "system" {
		return missing("root may not make mount and PID namespaces here (a container without CAP_SYS_ADMIN?), " +
			"which a private libvirtd needs: " + err.Error())
	}
	return err
}

// run starts the command and waits for it, both on one thread: the kernel sends the
// parent-death signal when the thread that forked ends (prctl(2), PR_SET_PDEATHSIG).
func (d *Daemon) run(started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	start := d.cmd.Start
	if d.host != nil {
		start = func() error { return startApart(d.cmd) }
	}
	err := start()
	started <- err
	if err == nil {
		_ = d.cmd.Wait() // its state is in d.cmd
	}
	close(d.done)
}

// ready waits until libvirtd answers.
func (d *Daemon) ready() error {
	conn, err := d.Dial()
	if err != nil {
		return err
	}
	if err := conn.SetDeadline(time.Now().Add(startTimeout)); err != nil {
		return err
	}
	l := newLibvirt(conn)
	if err := l.ConnectToURI(d.driver); err != nil {
		return errors.Join(err, conn.Close())
	}
	return l.Disconnect()
}

// diagnose adds to the error of a daemon that did not start what is known of it.
func (d *Daemon) diagnose(err error) error {
	var e libvirt.Error
	if errors.As(err, &e) && libvirt.ErrorNumber(e.Code) == libvirt.ErrNoConnect {
		return missing("libvirtd has no QEMU driver: " + installHint)
	}
	log, logErr := os.ReadFile(d.tree.log())
	err = fmt.Errorf("libvirtd does not answer: %w\n%s", errors.Join(err, logErr), log)
	select {
	case <-d.done:
	default:
		return err
	}
	if d.cmd.ProcessState.ExitCode() == cantMount {
		return missing("root may not mount in a namespace of its own here, which a private libvirtd needs: " + string(log))
	}
	return fmt.Errorf("%w\n%s", err, d.cmd.ProcessState)
}

// Stop ends the daemon and all its guests at once, waits for their end, and removes
// what they left. It is for owners that are no test; see [Start] and [Shared].
func (d *Daemon) Stop() (err error) {
	d.stop.Do(func() { err = d.end() })
	return err
}

func (d *Daemon) end() error {
	guests, err := d.guests()
	defer func() {
		for _, g := range guests {
			_ = g.Close()
		}
	}()
	late := time.After(stopTimeout)
	_ = d.cmd.Process.Signal(syscall.SIGTERM) // fails only when it has ended
	select {
	case <-d.done:
	case <-late:
		// In a session libvirtd is of the same group; in a namespace it ends with the shell.
		err = errors.Join(err, errors.New("libvirtd had to be killed"), syscall.Kill(-d.cmd.Process.Pid, syscall.SIGKILL))
		<-d.done
	}
	for _, g := range guests {
		select {
		case <-g.Done():
		case <-late:
			err = errors.Join(err, fmt.Errorf("the guest with PID %d lives", g.ID().PID))
		}
	}
	return errors.Join(err, d.tree.remove())
}

// Socket returns the path of the unix socket that libvirtd listens on.
func (d *Daemon) Socket() string { return filepath.Join(string(d.tree), "libvirt-sock") }

// URI returns the address for clients that take one, such as virsh -c.
func (d *Daemon) URI() string { return string(d.driver) + "?socket=" + d.Socket() }

// Driver returns which driver the daemon has: libvirt.QEMUSystem or QEMUSession.
func (d *Daemon) Driver() libvirt.ConnectURI { return d.driver }
