package snapshot_test

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(dyingIn); dir != "" {
		die(dir)
	}
	goleak.VerifyTestMain(m)
}
