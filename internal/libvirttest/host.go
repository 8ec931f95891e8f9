//go:build linux

package libvirttest

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/digitalocean/go-libvirt"
	"github.com/google/uuid"
	"golang.org/x/sys/unix"
)

// Transports of a [Host].
const (
	TLS = "tls"
	TCP = "tcp"
	SSH = "ssh"
)

// Host is a machine of its own as far as libvirt can tell: a [Daemon] with a host name, a host
// UUID, a network interface, and servers for remote clients.
type Host struct {
	*Daemon
	name    string
	address string
	link    string // the test's end of its cable
	sshd    string // empty: there is none
}

// StartHosts starts n hosts that can reach each other and the test, and ends them with tb. It
// is for tests of packages whose TestMain calls [InNetwork], and skips or fails tb as [Start]
// does.
func StartHosts(tb testing.TB, n int) []*Host {
	tb.Helper()
	check(tb, hostsMissing())
	ca, err := newAuthority()
	check(tb, err)
	all := make([]*Host, n)
	for i := range all {
		number := int(hosts.Add(1))
		all[i] = &Host{name: fmt.Sprintf("host%d", number), address: subnet + strconv.Itoa(number+1),
			link: fmt.Sprintf("to-host%d", number)}
	}
	for _, h := range all {
		check(tb, h.start(ca, all))
		tb.Cleanup(func() {
			if err := h.Stop(); err != nil {
				tb.Error(err)
			}
		})
	}
	return all
}

func hostsMissing() error {
	if !ownNetwork() {
		return missing("test hosts need network namespaces, which only root makes here")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		return missing("ip is missing: apt-get install --no-install-recommends iproute2")
	}
	return nil
}

func (h *Host) start(ca *authority, all []*Host) error {
	binary, err := findLibvirtd(true)
	if err != nil {
		return err
	}
	h.sshd = findSSHD()
	dir, err := makeTree(true)
	if err != nil {
		return err
	}
	h.Daemon = &Daemon{tree: dir, driver: libvirt.QEMUSystem, done: make(chan struct{}), host: h}
	err = h.furnish(ca, all)
	if err == nil {
		err = h.launch(binary)
	}
	if err != nil {
		return errors.Join(err, dir.remove())
	}
	if err = connect(h.cmd.Process.Pid, h.link, h.address); err == nil {
		if err = h.ready(); err != nil {
			err = h.diagnose(err)
		}
	}
	if err == nil {
		err = h.sshdReady()
	}
	if err != nil {
		return errors.Join(err, h.Stop())
	}
	return nil
}

// furnish adds to the tree what makes a host of it.
func (h *Host) furnish(ca *authority, all []*Host) error {
	dir := string(h.tree)
	if err := ca.furnish(dir+"/pki", h.name, h.address); err != nil {
		return err
	}
	names := "127.0.0.1 localhost\n"
	for _, other := range all {
		names += other.address + " " + other.name + "\n"
	}
	for name, text := range map[string]string{
		"hostname":   h.name + "\n",
		"etc/hosts":  names,
		"etc/shadow": "root:*:19000:0:99999:7:::\n", // nobody is locked out by what the real one has
		"libvirtd.conf": libvirtdConf + fmt.Sprintf("auth_tcp = \"none\"\nauth_tls = \"none\"\nhost_uuid = %q\n"+
			"ca_file = \"%[2]s/cacert.pem\"\ncert_file = \"%[2]s/servercert.pem\"\nkey_file = \"%[2]s/serverkey.pem\"\n", uuid.NewString(), dir+"/pki"),
		"etc/libvirt/qemu.conf": qemuConf + systemConf + fmt.Sprintf("migration_host = %q\n", h.address),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	// Where clients that come by SSH look.
	if err := os.Mkdir(dir+"/run/libvirt", 0o755); err != nil {
		return err
	}
	if err := os.Symlink(h.Socket(), dir+"/run/libvirt/libvirt-sock"); err != nil || h.sshd == "" {
		return err
	}
	return h.furnishSSHD()
}

// furnishSSHD writes what sshd is told, see sshd_config(5).
func (h *Host) furnishSSHD() error {
	dir := string(h.tree) + "/ssh"
	if err := errors.Join(os.Mkdir(dir, 0o700), os.Mkdir(string(h.tree)+"/run/sshd", 0o755)); err != nil {
		return err
	}
	// The user whom sshd gives up its rights to, which its package makes.
	passwd := filepath.Join(string(h.tree), "etc/passwd")
	users, err := os.ReadFile(passwd)
	if err != nil {
		return err
	}
	if !strings.Contains(string(users), "\nsshd:") {
		users = append(users, "sshd:x:65534:65534::/run/sshd:/usr/sbin/nologin\n"...)
	}
	config := fmt.Sprintf(`ListenAddress 0.0.0.0
HostKey %[1]s/host_key
AuthorizedKeysFile %[1]s/authorized_keys
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
PermitRootLogin prohibit-password
`, dir)
	return errors.Join(os.WriteFile(passwd, users, 0o600), os.WriteFile(dir+"/config", []byte(config), 0o600),
		os.Symlink(h.sshd, dir+"/sshd"), writeSSHKeys(dir, h.address))
}

// findSSHD returns the path of sshd, empty if there is none: installed, or unpacked by
// scripts/setup.sh.
func findSSHD() string {
	candidates := []string{"/usr/sbin/sshd"}
	if cache, err := os.UserCacheDir(); err == nil {
		candidates = append(candidates, filepath.Join(cache, "maqet/tools/openssh-server/usr/sbin/sshd"))
	}
	for _, path := range candidates {
		if _, err := exec.LookPath(path); err == nil {
			return path
		}
	}
	return ""
}

// sshdReady waits until sshd listens, which nothing tells.
func (h *Host) sshdReady() error {
	if h.sshd == "" {
		return nil
	}
	for deadline := time.Now().Add(startTimeout); ; time.Sleep(10 * time.Millisecond) {
		conn, err := net.DialTimeout("tcp", h.address+":22", time.Second)
		if err == nil {
			return conn.Close()
		}
		if time.Now().After(deadline) {
			log, _ := os.ReadFile(h.tree.log())
			return fmt.Errorf("sshd does not answer: %w\n%s", err, log)
		}
	}
}

// listenInNamespace puts the calling goroutine's thread into a new network namespace, and
// returns sockets there that libvirtd takes connections of TCP and TLS from. leave brings the
// thread back.
func listenInNamespace() (sockets []*os.File, leave func() error, err error) {
	outside, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return nil, nil, err
	}
	leave = func() error {
		defer outside.Close()
		return unix.Setns(int(outside.Fd()), unix.CLONE_NEWNET)
	}
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		_ = outside.Close()
		return nil, nil, os.NewSyscallError("unshare", err)
	}
	for _, port := range []string{"16509", "16514"} { // libvirt's for TCP and TLS
		var l net.Listener
		if l, err = net.Listen("tcp4", "0.0.0.0:"+port); err != nil {
			break
		}
		file, fileErr := l.(*net.TCPListener).File()
		err = errors.Join(fileErr, l.Close())
		sockets = append(sockets, file)
	}
	return sockets, leave, err
}

// startApart starts a command in a new network namespace, with the sockets that libvirtd
// listens on there. It is called on a thread that its goroutine has locked.
func startApart(cmd *exec.Cmd) error {
	runtime.LockOSThread() // once more: a thread that does not come back is never used again
	sockets, leave, err := listenInNamespace()
	if leave == nil {
		runtime.UnlockOSThread()
		return err
	}
	cmd.ExtraFiles = append(cmd.ExtraFiles, sockets...)
	cmd.Env = append(cmd.Env, "LISTEN_FDS=3", "LISTEN_FDNAMES=libvirtd.socket:libvirtd-tcp.socket:libvirtd-tls.socket")
	cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUTS
	if err == nil {
		err = cmd.Start()
	}
	for _, s := range sockets {
		_ = s.Close()
	}
	if back := leave(); back != nil {
		return errors.Join(err, back)
	}
	runtime.UnlockOSThread()
	return err
}
