//go:build linux

package libvirttest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"sync/atomic"
	"syscall"
)

const (
	// networkEnv has the process ID of the parent of the process that has a network of its own.
	networkEnv = "MAQET_LIBVIRTTEST_NETWORK"
	bridge     = "hosts"
	// subnet is from TEST-NET-2, which is nobody's (RFC 5737).
	subnet = "198.51.100."
)

// InNetwork calls run, which runs the tests of a package, in a network that has nothing but
// what [StartHosts] connects to it, and returns its exit status. It is for TestMain:
//
//	func TestMain(m *testing.M) { os.Exit(libvirttest.InNetwork(m.Run)) }
//
// For that it executes the test program again, in a network namespace: addresses and routes are
// those of this process only, and end with it. Where there can be no namespace it just calls
// run, and StartHosts says why there are no hosts.
func InNetwork(run func() int) int {
	if ownNetwork() {
		if err := makeBridge(); err != nil {
			fmt.Fprintln(os.Stderr, "libvirttest:", err)
			return 1
		}
		return run()
	}
	if os.Geteuid() != 0 {
		return run()
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(os.Environ(), networkEnv+"="+strconv.Itoa(os.Getpid()))
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	runtime.LockOSThread() // as Daemon.run does
	defer runtime.UnlockOSThread()
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case errors.Is(err, syscall.EPERM):
		return run()
	case errors.As(err, &exit) && exit.ExitCode() > 0:
		return exit.ExitCode()
	case err != nil:
		fmt.Fprintln(os.Stderr, "libvirttest:", err)
		return 1
	}
	return 0
}

func ownNetwork() bool { return os.Getenv(networkEnv) == strconv.Itoa(os.Getppid()) }

func makeBridge() error {
	if _, err := exec.LookPath("ip"); err != nil {
		return nil // StartHosts will say so
	}
	return ip(
		[]string{"link", "set", "dev", "lo", "up"},
		[]string{"link", "add", "name", bridge, "type", "bridge"},
		[]string{"address", "add", subnet + "1/24", "dev", bridge},
		[]string{"link", "set", "dev", bridge, "up"})
}

// ip runs commands of ip(8) in this process's network.
func ip(commands ...[]string) error {
	for _, args := range commands {
		if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
			return fmt.Errorf("ip %q: %w: %s", args, err, out)
		}
	}
	return nil
}

// hosts counts those of this process, for their addresses.
var hosts atomic.Int32

// connect gives the network namespace of a process a link to the bridge, with an address.
func connect(pid int, link, address string) error {
	inside := strconv.Itoa(pid)
	if err := ip(
		[]string{"link", "add", "name", link, "type", "veth", "peer", "name", "eth0", "netns", inside},
		[]string{"link", "set", "dev", link, "master", bridge, "up"}); err != nil {
		return err
	}
	for _, args := range [][]string{
		{"link", "set", "dev", "lo", "up"},
		{"address", "add", address + "/24", "dev", "eth0"},
		{"link", "set", "dev", "eth0", "up"},
	} {
		args = append([]string{"-t", inside, "-n", "ip"}, args...)
		if out, err := exec.Command("nsenter", args...).CombinedOutput(); err != nil {
			return fmt.Errorf("nsenter %q: %w: %s", args, err, out)
		}
	}
	return nil
}
