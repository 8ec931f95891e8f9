//go:build linux

package initramfs

import (
	"strings"

	"golang.org/x/sys/unix"
)

// baseFiles are the small files that programs expect. 10.0.2.3 is the name server of
// QEMU's user-mode network (QEMU manual, -netdev user).
var baseFiles = map[string]string{
	"etc/passwd":      "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
	"etc/group":       "root:x:0:\nnogroup:x:65534:\n",
	"etc/hostname":    "maqet\n",
	"etc/hosts":       "127.0.0.1 localhost maqet\n::1 localhost\n",
	"etc/resolv.conf": "nameserver 10.0.2.3\n",
	"etc/shells":      "/bin/sh\n",
}

// addBase adds what every guest has.
func addBase(t *tree) error {
	for _, dir := range []string{
		"bin", "dev", "etc", "lib", "lib64", "mnt", "proc", "run", "sys", "usr/share", "var/log",
	} {
		if err := t.folder(dir, 0o755); err != nil {
			return err
		}
	}
	for _, a := range aliases {
		target := strings.Repeat("../", strings.Count(a.link, "/")) + a.target
		t.entries[a.link] = entry{mode: unix.S_IFLNK | 0o777, data: []byte(target)}
	}
	if err := t.folder("root", 0o700); err != nil {
		return err
	}
	if err := t.folder("tmp", 0o1777); err != nil {
		return err
	}
	for name, text := range baseFiles {
		if err := t.file(name, []byte(text), 0o644); err != nil {
			return err
		}
	}
	// Linux opens /dev/console for init's standard files; a Go program that starts
	// with none of them needs /dev/null. Major and minor: Documentation/admin-guide/devices.txt.
	if err := t.device("dev/console", 0o600, 5, 1); err != nil {
		return err
	}
	return t.device("dev/null", 0o666, 1, 3)
}
