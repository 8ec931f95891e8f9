package guesttest

import (
	"context"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"github.com/maqet/maqet"
	"github.com/maqet/maqet/guest"
)

// pidPipe is a named pipe in the guest, through which the program's process ID comes.
const pidPipe = "/run/maqet-test-pid"

// Both ends of the pipe wait for each other, so it does not matter who comes first; for the
// same reason both make it.
const (
	tellPID = `mkfifo "$0" 2>/dev/null; echo $$ >"$0" && exec "$@"`
	readPID = `mkfifo "$0" 2>/dev/null; cat "$0"`
	sendOne = `kill -"$1" "$2"`
)

// forward returns a command line that runs args such that signals can be passed on to it, and
// has begun to do so. stop ends that. If it can't be done, cancel gets the reason: the program
// would wait for ever.
func forward(ctx context.Context, cancelAll context.CancelCauseFunc, g *maqet.Machine, args []string, signals <-chan os.Signal) (wrapped []string, stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() {
		res, err := g.Command(ctx, guest.Command{Args: []string{"sh", "-c", readPID, pidPipe}})
		if err != nil {
			cancelAll(err)
			return
		}
		pid := strings.TrimSpace(string(res.Stdout))
		for {
			select {
			case <-ctx.Done():
				return
			case s := <-signals:
				if n, ok := s.(syscall.Signal); ok {
					// A program that has just ended is no reason to complain.
					_, _ = g.Command(ctx, guest.Command{Args: []string{"sh", "-c", sendOne, "sh", strconv.Itoa(int(n)), pid}})
				}
			}
		}
	})
	return append([]string{"sh", "-c", tellPID, pidPipe}, args...), func() {
		cancel()
		running.Wait()
	}
}
