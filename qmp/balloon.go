package qmp

import (
	"context"
	"fmt"
	"time"

	"github.com/maqet/maqet/errors"
)

// MemoryInfo says how much memory a VM has, in bytes.
type MemoryInfo struct {
	Base    int64 // that it was started with
	Plugged int64 // in modules, see [Memory]
	// Guest is what the balloon leaves the guest of Base; equal to Base without a balloon.
	Guest   int64
	Balloon bool // there is a balloon, and the guest's driver is in charge of it
}

// pageSize is what a balloon counts in (Virtual I/O Device specification, section 5.5,
// "Traditional Memory Balloon Device").
const pageSize = 4096

// MemoryInfo asks how much memory the VM called ref has.
func (m *Manager) MemoryInfo(ctx context.Context, ref string) (MemoryInfo, error) {
	size, err := Call[struct {
		Base    int64 `json:"base-memory"`
		Plugged int64 `json:"plugged-memory"`
	}](ctx, m, ref, "query-memory-size-summary", nil)
	if err != nil {
		return MemoryInfo{}, err
	}
	info := MemoryInfo{Base: size.Base, Plugged: size.Plugged, Guest: size.Base}
	actual, err := m.balloon(ctx, ref)
	switch {
	case err == nil:
		info.Guest, info.Balloon = actual, true
	case !errors.Is(err, errors.ErrQMPUnsupported):
		return MemoryInfo{}, err
	}
	return info, nil
}

// balloon returns how much memory the balloon leaves the guest.
func (m *Manager) balloon(ctx context.Context, ref string) (int64, error) {
	info, err := Call[struct {
		Actual int64 `json:"actual"`
	}](ctx, m, ref, "query-balloon", nil)
	return info.Actual, m.noBalloon(ref, err)
}

// noBalloon says what is missing where QEMU only says that something is.
func (m *Manager) noBalloon(ref string, err error) error {
	if !hasClass(err, "DeviceNotActive") && !hasClass(err, "KVMMissingCap") {
		return err
	}
	return &errors.Error{Kind: errors.ErrQMPUnsupported, Op: "use the memory balloon of VM", VM: m.label(ref), Err: err,
		Hint: "set vm.Config.Balloon; without it there is none"}
}

// SetMemory changes how much memory the guest of the VM called ref may use to size bytes,
// and returns once it does: more than what it was started with is not possible, and a
// fraction of 4 KiB is left out. The guest's driver takes memory from its system, or gives it
// back, which takes as long as that system needs to free it: bound it by ctx. When ctx ends
// first the driver goes on; the error is errors.ErrQMPTimeout, says how far it came, and wraps
// ctx's.
//
// Errors besides: *errors.ConfigError for a size that is not possible;
// errors.ErrQMPUnsupported where there is no balloon (vm.Config.Balloon); those of
// [Manager.Execute].
func (m *Manager) SetMemory(ctx context.Context, ref string, size int64) error {
	info, err := m.MemoryInfo(ctx, ref)
	if err != nil {
		return err
	}
	size -= size % pageSize
	if size <= 0 || size > info.Base {
		return &errors.ConfigError{Kind: errors.ErrInvalidConfiguration, VM: m.label(ref), Problems: []errors.Problem{{
			Field: "size", Value: fmt.Sprint(size), Message: fmt.Sprintf("is not possible in a VM that was started with %d bytes", info.Base),
			Fix: "use bytes, for example 128 << 20; to add more plug a qmp.Memory"}}}
	}
	conn, err := m.find.QMP(ctx, ref)
	if err != nil {
		return err
	}
	changes := conn.Subscribe("BALLOON_CHANGE")
	defer changes.Close()
	if _, err := m.Execute(ctx, ref, "balloon", map[string]int64{"value": size}); err != nil {
		return m.noBalloon(ref, err)
	}
	for pause := firstLook; ; pause = min(2*pause, askAgain) {
		actual, err := m.balloon(ctx, ref)
		if err != nil || actual == size {
			return err
		}
		err = lookAgain(ctx, changes, pause)
		if ctx.Err() != nil {
			return errors.Wrap(errors.ErrQMPTimeout, fmt.Sprintf("set the memory to %d bytes, it is %d now, of VM", size, actual),
				m.label(ref), context.Cause(ctx))
		}
		if err != nil {
			return onVM(err, m.label(ref))
		}
	}
}

// firstLook is when SetMemory looks at the balloon without an event: QEMU sends one a second
// at most, and a guest that has memory to spare is done in a tenth of one. The pauses after
// it grow up to askAgain, for a monitor that is shared with other processes, who may get the
// event.
const firstLook = 20 * time.Millisecond

// lookAgain returns at the next event, or after the pause.
func lookAgain(ctx context.Context, changes *Subscription, pause time.Duration) error {
	within, cancel := context.WithTimeout(ctx, pause)
	defer cancel()
	_, err := changes.Await(within, nil)
	if within.Err() != nil {
		return nil
	}
	return err
}
