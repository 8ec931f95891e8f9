//go:build linux

package segment

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/maqet/maqet/internal/flock"
)

const (
	switchName = "switch.sock"
	lockName   = "switch.lock"
	// portSuffix is what the names of all cards' sockets end in.
	portSuffix = ".port"
)

// SwitchPath returns the path of the socket that the cards of the segment in dir send to.
func SwitchPath(dir string) string { return filepath.Join(dir, switchName) }

// PortPath returns the path of the socket of a card. Two cards of a segment must not have
// the same name.
func PortPath(dir, card string) string { return filepath.Join(dir, card+portSuffix) }

// Member is a process's part in a segment. Its methods are safe for concurrent use.
type Member struct {
	dir  string
	log  *slog.Logger
	stop context.CancelFunc
	wg   sync.WaitGroup
}

// Join makes this process run the switch of the segment in dir: from now on if nobody does,
// else as soon as the process that does ends or leaves. The folder must exist, with mode
// 0700, and its path leave room for a socket's. The caller must Close the member.
func Join(dir string, log *slog.Logger) (*Member, error) {
	ctx, stop := context.WithCancel(context.Background()) // the member's life, ended by Close
	m := &Member{dir: dir, log: log.With("segment", dir), stop: stop}
	lock, err := flock.Try(filepath.Join(dir, lockName))
	if errors.Is(err, flock.ErrHeld) {
		m.wg.Go(func() { m.succeed(ctx) })
		return m, nil
	}
	if err != nil {
		stop()
		return nil, fmt.Errorf("join the segment in %s: %w", dir, err)
	}
	s, err := open(dir, m.log)
	if err != nil {
		stop()
		return nil, errors.Join(fmt.Errorf("open the switch in %s: %w", dir, err), lock.Unlock())
	}
	m.wg.Go(func() {
		m.lead(ctx, s, lock)
		m.succeed(ctx)
	})
	return m, nil
}

// Close leaves the segment and waits for all that Join began. Another process that is a
// member goes on with the switch.
func (m *Member) Close() error {
	m.stop()
	m.wg.Wait()
	return nil
}

// succeed waits until nobody runs the switch, and then does, until ctx ends.
func (m *Member) succeed(ctx context.Context) {
	for ctx.Err() == nil {
		lock, err := flock.Wait(ctx, filepath.Join(m.dir, lockName))
		if err != nil {
			if ctx.Err() == nil {
				m.log.Warn("this process can't take the switch over", "error", err)
			}
			return
		}
		s, err := open(m.dir, m.log)
		if err != nil {
			m.log.Warn("the switch can't be opened", "error", errors.Join(err, lock.Unlock()))
			return
		}
		m.lead(ctx, s, lock)
	}
}

// lead runs the switch until ctx ends.
func (m *Member) lead(ctx context.Context, s *ethernet, lock *flock.Lock) {
	m.log.Debug("this process runs the switch")
	err := errors.Join(s.run(ctx), remove(SwitchPath(m.dir)), lock.Unlock())
	if err != nil {
		m.log.Warn("the switch has ended", "error", err)
	}
}

// Sweep removes a switch's socket that a process left behind when it died. Those of cards
// are removed by who started their machines, see [RemovePorts].
func Sweep(dir string) error {
	lock, err := flock.Try(filepath.Join(dir, lockName))
	if errors.Is(err, flock.ErrHeld) || errors.Is(err, fs.ErrNotExist) {
		return nil // it is in use, or there is no segment
	}
	if err != nil {
		return err
	}
	return errors.Join(remove(SwitchPath(dir)), lock.Unlock())
}

// RemovePorts removes the sockets of the cards whose names begin with prefix. There may be
// none, and no segment.
func RemovePorts(dir, prefix string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	errs := []error{err}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), prefix) && isPort(e.Name()) && e.Type() == fs.ModeSocket {
			errs = append(errs, remove(filepath.Join(dir, e.Name())))
		}
	}
	return errors.Join(errs...)
}

// remove removes a file, which may be gone.
func remove(path string) error {
	if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func isPort(name string) bool {
	return strings.HasSuffix(name, portSuffix) && !strings.ContainsRune(name, '/')
}

// datagramSocket makes a unix datagram socket that does not block.
func datagramSocket() (int, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	return fd, os.NewSyscallError("socket", err)
}
