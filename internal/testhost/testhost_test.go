package testhost_test

import (
	"fmt"
	"os"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/internal/testhost"
)

// recorder notes how a test ends.
type recorder struct {
	testing.TB
	end string
}

func (r *recorder) Helper() {}

func (r *recorder) Fatal(args ...any) {
	r.end = "fatal: " + fmt.Sprintln(args...)
	runtime.Goexit()
}

func (r *recorder) Skip(args ...any) {
	r.end = "skip: " + fmt.Sprintln(args...)
	runtime.Goexit()
}

// TestWhatIsLacking: a test is skipped, and where nothing may be lacking it fails.
func TestWhatIsLacking(t *testing.T) {
	for _, c := range []struct {
		require string
		err     error
		end     string
	}{
		{"", nil, "goes on"},
		{"1", nil, "goes on"},
		{"", os.ErrNotExist, "skip: QEMU is needed: file does not exist\n"},
		{"0", os.ErrNotExist, "skip: QEMU is needed: file does not exist\n"},
		{"1", os.ErrNotExist, "fatal: QEMU is needed: file does not exist\n"},
	} {
		t.Setenv(testhost.EnvRequire, c.require)
		r := &recorder{TB: t}
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			testhost.Needs(r, "QEMU", c.err)
			r.end = "goes on"
		}()
		<-ended
		require.Equal(t, c.end, r.end, "%+v", c)
	}
}
