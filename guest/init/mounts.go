package main

import (
	"os"
	"strings"
	"syscall"
)

// mount makes a mount point and mounts a kernel file system there. A kernel
// without it, or one that has mounted it already, is no reason to stop.
func mount(fstype, target string, flags uintptr, data string) {
	os.MkdirAll(target, 0o755)
	syscall.Mount(fstype, target, fstype, flags, data)
}

// mountKernelFS mounts what the boot itself needs.
func mountKernelFS() {
	const plain = syscall.MS_NOSUID | syscall.MS_NODEV | syscall.MS_NOEXEC
	mount("proc", "/proc", plain, "")
	mount("sysfs", "/sys", plain, "")
	mount("devtmpfs", "/dev", syscall.MS_NOSUID, "mode=0755")
}

// mountRest mounts what programs expect to find.
func mountRest() {
	const plain = syscall.MS_NOSUID | syscall.MS_NODEV
	mount("devpts", "/dev/pts", syscall.MS_NOSUID|syscall.MS_NOEXEC, "mode=0620,ptmxmode=0666")
	mount("tmpfs", "/dev/shm", plain, "mode=1777")
	mount("tmpfs", "/run", plain, "mode=0755")
	mount("cgroup2", "/sys/fs/cgroup", plain|syscall.MS_NOEXEC, "")
	os.MkdirAll("/tmp", 0o777)
	os.Chmod("/tmp", 0o777|os.ModeSticky)
	os.MkdirAll("/root", 0o700)
	for link, target := range map[string]string{
		"/dev/fd": "/proc/self/fd", "/dev/stdin": "/proc/self/fd/0",
		"/dev/stdout": "/proc/self/fd/1", "/dev/stderr": "/proc/self/fd/2",
	} {
		os.Symlink(target, link)
	}
}

// kernelParams are the KEY=VALUE words of the kernel's command line.
func kernelParams() map[string]string {
	params := map[string]string{}
	for _, word := range kernelWords() {
		if key, value, ok := strings.Cut(word, "="); ok {
			params[key] = value
		}
	}
	return params
}

func kernelWords() []string {
	text, _ := os.ReadFile("/proc/cmdline")
	return strings.Fields(string(text))
}
