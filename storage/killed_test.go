package storage_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/storage"
)

// Environment variables of a process that kills itself while it makes an image.
const (
	dyingIn = "MAQET_TEST_DYING_IN"
	dyingAt = "MAQET_TEST_DYING_AT"
)

// die has a process make an image below dir that is killed at one of its steps.
func die(t *testing.T, dir, at string) {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), dyingIn+"="+dir, dyingAt+"="+at)
	out, err := cmd.CombinedOutput()
	require.Error(t, err)
	status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus)
	require.True(t, ok && status.Signal() == syscall.SIGKILL, "%v: %s", err, out)
}

// dieMaking makes an image, and does not come back.
func dieMaking(dir, at string) {
	m, err := storage.NewManager(storage.Options{Root: filepath.Join(dir, "images"), Registry: &deadly{dir: dir, at: at}})
	if err == nil {
		_, err = m.Create(context.Background(), storage.CreateSpec{Path: filepath.Join(dir, "images", "vm", "disk"), Size: mib})
	}
	fmt.Println("it lives", err)
}

// deadly is a registry in a file, whose process dies before or after it has recorded.
type deadly struct {
	storage.MemoryRegistry
	dir, at string
	calls   int
}

func (d *deadly) PutFile(_ context.Context, f storage.File) error {
	before, after := "placeholder", "row"
	if d.calls++; d.calls == 2 {
		before, after = "content", "finished"
	}
	if d.at == before {
		killed()
	}
	data, err := json.Marshal([]storage.File{f})
	if err == nil {
		err = os.WriteFile(filepath.Join(d.dir, "rows"), data, 0o600)
	}
	if d.at == after {
		killed()
	}
	return err
}

func killed() {
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {}
}

// rowsOf returns what a deadly registry recorded.
func rowsOf(t *testing.T, dir string) (files []storage.File) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, "rows"))
	if os.IsNotExist(err) {
		return nil
	}
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(data, &files))
	return files
}
