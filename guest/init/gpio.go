package main

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"syscall"
	"unsafe"
)

// powerLine is a line of a GPIO chip that is a power button.
type powerLine struct {
	chip   string // device, such as /dev/gpiochip0
	offset uint32
}

// powerLines finds power buttons in the device tree: QEMU's machine "virt" for aarch64 has
// one. The kernel's own driver for them, gpio-keys, is missing in Debian's cloud kernel
// (Linux, Documentation/devicetree/bindings/input/gpio-keys.yaml).
func powerLines(tree, sys string) (lines []powerLine) {
	const keyPower = 116
	codes, _ := filepath.Glob(tree + "/*/*/linux,code")
	for _, path := range codes {
		if code := cells(path); len(code) != 1 || code[0] != keyPower {
			continue
		}
		gpio := cells(filepath.Dir(path) + "/gpios") // controller, line, flags
		chips, _ := filepath.Glob(sys + "/bus/gpio/devices/*")
		for _, chip := range chips {
			handle := cells(chip + "/of_node/phandle")
			if len(gpio) >= 2 && len(handle) == 1 && handle[0] == gpio[0] {
				lines = append(lines, powerLine{chip: "/dev/" + filepath.Base(chip), offset: gpio[1]})
			}
		}
	}
	return lines
}

// cells reads a property of the device tree as 32-bit numbers.
func cells(path string) (numbers []uint32) {
	data, _ := os.ReadFile(path)
	for ; len(data) >= 4; data = data[4:] {
		numbers = append(numbers, binary.BigEndian.Uint32(data))
	}
	return numbers
}

// watch powers off when the line rises. It returns when the line can't be had, which is
// so when the kernel has a driver for it.
func (l powerLine) watch(p *power) {
	f, err := l.request()
	if err != nil {
		return
	}
	defer f.Close()
	var event [48]byte // struct gpio_v2_line_event
	if _, err := f.Read(event[:]); err == nil {
		p.shutdown(syscall.LINUX_REBOOT_CMD_POWER_OFF)
	}
}

// request asks for the events of the line (Linux, include/uapi/linux/gpio.h).
func (l powerLine) request() (*os.File, error) {
	const (
		getLine    = 0xc250b407 // GPIO_V2_GET_LINE_IOCTL
		input      = 1 << 2
		edgeRising = 1 << 4
	)
	chip, err := syscall.Open(l.chip, syscall.O_RDWR|syscall.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer syscall.Close(chip)
	req := struct { // gpio_v2_line_request
		offsets  [64]uint32
		consumer [32]byte
		flags    uint64
		_        [264]byte // further attributes
		lines    uint32
		_        [6]uint32
		fd       int32
	}{offsets: [64]uint32{l.offset}, flags: input | edgeRising, lines: 1}
	copy(req.consumer[:], "power button")
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, uintptr(chip), getLine, uintptr(unsafe.Pointer(&req))); errno != 0 {
		return nil, errno
	}
	syscall.SetNonblock(int(req.fd), true) // waited for without a thread
	return os.NewFile(uintptr(req.fd), "power button"), nil
}
