//go:build linux

package libvirttest

import (
	"net"
	"os"
	"path/filepath"
)

// tree is the folder of a daemon.
type tree string

// maxTemp is how long the path of the temporary folder may be, so that those of the
// sockets in it fit into the 107 bytes that Linux has for them.
const maxTemp = 30

// libvirtdConf lets in whoever can reach the socket, which its folder decides.
const libvirtdConf = `auth_unix_rw = "none"
`

// qemuConf says in both modes: no virtlogd, which does not run here; no AppArmor or
// SELinux.
const qemuConf = `stdio_handler = "file"
security_driver = "none"
`

// systemConf makes guests run as root: libvirt would find out again and again what QEMU
// can do (4 s a call) if they ran as a user who can't open /dev/kvm when root can. So do their
// TPMs, which others would have no folder for. And it
// keeps libvirt from cgroups, from namespaces of each guest, and from folders in the
// host's hugetlbfs.
const systemConf = `user = "root"
group = "root"
swtpm_user = "root"
swtpm_group = "root"
dynamic_ownership = 0
remember_owner = 0
cgroup_controllers = []
namespaces = []
hugetlbfs_mount = []
`

func makeTree(system bool) (tree, error) {
	temp := os.TempDir()
	if len(temp) > maxTemp {
		temp = "/tmp"
	}
	dir, err := os.MkdirTemp(temp, "maqet-libvirt-")
	if err != nil {
		return "", err
	}
	t := tree(dir)
	folders := []string{"run", "config/libvirt", "cache", "data", "home"}
	files := map[string]string{"libvirtd.conf": libvirtdConf, "config/libvirt/qemu.conf": qemuConf}
	if system {
		// run/lock has a lock file for each console and channel that is open as a stream.
		folders = []string{"run/lock", "etc/libvirt", "var/lib", "var/cache", "var/log", "home"}
		files = map[string]string{"libvirtd.conf": libvirtdConf, "etc/libvirt/qemu.conf": qemuConf + systemConf}
		err = withUser(files)
	}
	for _, name := range folders {
		if err == nil {
			err = os.MkdirAll(filepath.Join(dir, name), 0o700)
		}
	}
	for name, text := range files {
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600)
		}
	}
	if err != nil {
		_ = t.remove()
		return "", err
	}
	return t, nil
}

// withUser adds the host's users with the one that libvirt insists on to know, though
// qemu.conf names another. Debian makes it in a package that the tests don't need.
func withUser(files map[string]string) error {
	for name, line := range map[string]string{
		"etc/passwd": "libvirt-qemu:x:0:0::/:/usr/sbin/nologin\n",
		"etc/group":  "libvirt-qemu:x:0:\n",
	} {
		text, err := os.ReadFile("/" + name)
		if err != nil {
			return err
		}
		files[name] = string(text) + line
	}
	return nil
}

func (t tree) environ() []string {
	dir := string(t)
	return []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"LC_ALL=C",
		"HOME=" + dir + "/home",
		"XDG_RUNTIME_DIR=" + dir + "/run",
		"XDG_CONFIG_HOME=" + dir + "/config",
		"XDG_CACHE_HOME=" + dir + "/cache",
		"XDG_DATA_HOME=" + dir + "/data",
	}
}

func (t tree) log() string { return filepath.Join(string(t), "libvirtd.log") }

func (t tree) remove() error { return os.RemoveAll(string(t)) }

// listen returns a listening unix socket at path, which outlives its Go object.
func listen(path string) (*os.File, error) {
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false)
	defer func() { _ = l.Close() }()
	return l.File()
}
