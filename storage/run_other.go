//go:build !linux

package storage

import "syscall"

// dieWithUs has no equivalent here.
func dieWithUs() *syscall.SysProcAttr { return nil }
