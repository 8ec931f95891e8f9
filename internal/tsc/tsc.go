//go:build linux

// Package tsc finds the rate of the host's time stamp counter, which is that of an
// emulated guest too: TCG reads the host's counter for the guest's RDTSC (QEMU,
// cpu_get_host_ticks).
package tsc

import (
	"bytes"
	"os"
	"slices"
	"time"
)

// measureFor bounds the error of a measurement: reading both clocks takes less than 1 us,
// so 5 ms give the rate within 0.02 %. Linux accepts 1 % between its own estimates.
const measureFor = 5 * time.Millisecond

// KHz returns the rate in kHz, and false when the counter does not run at a constant
// rate, or there is none. It takes 5 ms.
func KHz() (int, bool) {
	if !constant() {
		return 0, false
	}
	start, first := time.Now(), read()
	time.Sleep(measureFor) // the measurement itself: nothing is waited for
	elapsed, ticks := time.Since(start), read()-first
	khz := float64(ticks) / (float64(elapsed) / float64(time.Millisecond))
	return int(khz + 0.5), khz > 0
}

// constant reports whether the counter is independent of the processor's clock and
// sleep states (Linux, arch/x86/kernel/cpu: constant_tsc, nonstop_tsc).
func constant() bool {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return false
	}
	for line := range bytes.Lines(text) {
		if name, flags, ok := bytes.Cut(line, []byte(":")); ok && string(bytes.TrimSpace(name)) == "flags" {
			words := bytes.Fields(flags)
			has := func(flag string) bool {
				return slices.ContainsFunc(words, func(w []byte) bool { return string(w) == flag })
			}
			return available && has("constant_tsc") && has("nonstop_tsc")
		}
	}
	return false
}
