package main

import (
	"os"
	"syscall"
	"time"
	"unsafe"
)

// setClock sets the system's clock.
func setClock(t time.Time) error {
	tv := syscall.NsecToTimeval(t.UnixNano())
	return os.NewSyscallError("settimeofday", syscall.Settimeofday(&tv))
}

// setRTC sets the clock that a guest that boots begins with. It must not go back to when the
// saved state was made.
func setRTC(t time.Time) error {
	const rtcSetTime = 0x4024700a // rtc(4)
	fd, err := syscall.Open("/dev/rtc0", syscall.O_WRONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer syscall.Close(fd)
	t = t.UTC()
	year, month, day := t.Date()
	hour, minute, second := t.Clock()
	tm := [9]int32{int32(second), int32(minute), int32(hour), int32(day), int32(month) - 1, int32(year) - 1900}
	return ioctl(fd, rtcSetTime, unsafe.Pointer(&tm))
}

// setTimes sets an open file's times.
func setTimes(f *os.File, t time.Time) error {
	ts := [2]syscall.Timespec{}
	ts[1] = syscall.NsecToTimespec(t.UnixNano())
	ts[0] = ts[1]
	_, _, errno := syscall.Syscall6(syscall.SYS_UTIMENSAT, f.Fd(), 0, uintptr(unsafe.Pointer(&ts)), 0, 0, 0)
	if errno != 0 {
		return os.NewSyscallError("utimensat", errno)
	}
	return nil
}

// Requests of random(4).
const (
	rndAddEntropy = 0x40085203
	rndReseed     = 0x5207
)

// reseed credits random bytes to the kernel's generator and makes it use them
// at once: up to the next reseed it would go on from its old state.
func reseed(seed []byte) error {
	fd, err := syscall.Open("/dev/urandom", syscall.O_WRONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: "/dev/urandom", Err: err}
	}
	defer syscall.Close(fd)
	info := struct {
		bits, size int32
		data       [256]byte
	}{}
	n := copy(info.data[:], seed)
	info.bits, info.size = int32(8*n), int32(n)
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, uintptr(fd), rndAddEntropy, uintptr(unsafe.Pointer(&info))); errno != 0 {
		return os.NewSyscallError("RNDADDENTROPY", errno)
	}
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, uintptr(fd), rndReseed, 0); errno != 0 {
		return os.NewSyscallError("RNDRESEEDCRNG", errno)
	}
	return nil
}
