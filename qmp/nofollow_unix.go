//go:build unix

package qmp

import "golang.org/x/sys/unix"

// noFollow refuses a path whose last part is a symbolic link; it never waits for the other
// end of a pipe.
const noFollow = unix.O_NOFOLLOW | unix.O_NONBLOCK
