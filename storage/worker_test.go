package storage_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/internal/flock"
	"github.com/maqet/maqet/storage"
)

// envWork is the environment variable that makes a process of this test program a worker.
const envWork = "MAQET_TEST_STORAGE_WORK"

// work is what a worker does: one operation, which halts at a step until the other process
// lets it go on.
type work struct {
	Dir    string // of the images and the registry
	Op     string
	Source string
	Path   string
	Halt   string // "progress", or a call of the registry: "PutFile 1", "DropFile 1"
}

// fileRegistry is a registry that processes share.
type fileRegistry struct {
	path string
	step func(name string)
}

func (r *fileRegistry) edit(ctx context.Context, change func(*storage.MemoryRegistry) error) error {
	lock, err := flock.Wait(ctx, r.path+".lock")
	if err != nil {
		return err
	}
	defer func() { _ = lock.Unlock() }()
	var rows storage.MemoryRegistry
	data, err := os.ReadFile(r.path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	var files []storage.File
	if len(data) > 0 {
		if err := json.Unmarshal(data, &files); err != nil {
			return err
		}
	}
	for _, f := range files {
		if err := rows.PutFile(ctx, f); err != nil {
			return err
		}
	}
	if err := change(&rows); err != nil {
		return err
	}
	if files, err = rows.Files(ctx, storage.FileFilter{}); err == nil {
		data, err = json.Marshal(files)
	}
	if err == nil {
		err = os.WriteFile(r.path+".new", data, 0o600)
	}
	if err == nil {
		err = os.Rename(r.path+".new", r.path)
	}
	return err
}

func (r *fileRegistry) at(name string) {
	if r.step != nil {
		r.step(name)
	}
}

func (r *fileRegistry) PutFile(ctx context.Context, f storage.File) error {
	r.at("PutFile")
	return r.edit(ctx, func(rows *storage.MemoryRegistry) error { return rows.PutFile(ctx, f) })
}

func (r *fileRegistry) DropFile(ctx context.Context, path string) error {
	r.at("DropFile")
	return r.edit(ctx, func(rows *storage.MemoryRegistry) error { return rows.DropFile(ctx, path) })
}

func (r *fileRegistry) Files(ctx context.Context, f storage.FileFilter) (list []storage.File, err error) {
	err = r.edit(ctx, func(rows *storage.MemoryRegistry) (err error) {
		list, err = rows.Files(ctx, f)
		return err
	})
	return list, err
}

// manageShared returns a manager whose registry other processes share, and its root folder.
func manageShared(dir string, step func(string)) (*storage.Manager, string, error) {
	root := filepath.Join(dir, "images")
	m, err := storage.NewManager(storage.Options{Root: root, Registry: &fileRegistry{filepath.Join(dir, "rows"), step}})
	return m, root, err
}

// doWork is the main function of a worker.
func doWork(text string) error {
	var w work
	if err := json.Unmarshal([]byte(text), &w); err != nil {
		return err
	}
	halted := false
	halt := func(name string) {
		if name == w.Halt && !halted {
			halted = true
			fmt.Println("halted")
			_, _ = io.Copy(io.Discard, os.Stdin)
		}
	}
	calls := map[string]int{}
	m, _, err := manageShared(w.Dir, func(call string) {
		calls[call]++
		halt(fmt.Sprintf("%s %d", call, calls[call]))
	})
	if err != nil {
		return err
	}
	return w.run(context.Background(), m, func(done, _ int64) {
		if done > 0 {
			halt("progress")
		}
	})
}

// run does the operation.
func (w work) run(ctx context.Context, m *storage.Manager, progress func(done, total int64)) (err error) {
	owner := storage.For{Owner: "vm"}
	switch w.Op {
	case "import":
		_, err = m.Import(ctx, storage.ImportSpec{Source: w.Source, Format: "qcow2", Path: w.Path, For: owner, Progress: progress})
	case "clone":
		_, err = m.Clone(ctx, storage.CloneSpec{Source: w.Source, Format: "qcow2", Path: w.Path, For: owner, Progress: progress})
	case "convert":
		_, err = m.Convert(ctx, storage.ConvertSpec{Source: w.Source, Format: "qcow2", Path: w.Path, For: owner, Compress: true, Progress: progress})
	case "compress":
		_, err = m.Compress(ctx, storage.CompressSpec{Path: w.Path, Progress: progress})
	case "rebase":
		_, err = m.Rebase(ctx, storage.RebaseSpec{Path: w.Path, Progress: progress})
	case "commit":
		_, err = m.Commit(ctx, storage.CommitSpec{Path: w.Path, Progress: progress})
	case "resize":
		_, err = m.Resize(ctx, storage.ResizeSpec{Path: w.Path, Format: "qcow2", Size: 64 * mib})
	default:
		err = errors.New("there is no such operation")
	}
	return err
}

// worker is a process that halts in the middle of its work.
type worker struct {
	t   *testing.T
	cmd *exec.Cmd
	in  io.WriteCloser
}

// start has a process do some work up to where it halts.
func (w work) start(t *testing.T) *worker {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	text, err := json.Marshal(w)
	require.NoError(t, err)
	p := &worker{t: t, cmd: exec.Command(self)}
	p.cmd.Env = append(os.Environ(), envWork+"="+string(text))
	p.cmd.Stderr = os.Stderr
	p.in, err = p.cmd.StdinPipe()
	require.NoError(t, err)
	out, err := p.cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, p.cmd.Start())
	t.Cleanup(func() { _ = p.cmd.Process.Kill(); _ = p.cmd.Wait() })
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err, "it never came to %q", w.Halt)
	require.Equal(t, "halted\n", line)
	return p
}

// kill ends the process by SIGKILL, and whatever it has started with it.
func (p *worker) kill() {
	p.t.Helper()
	require.NoError(p.t, p.cmd.Process.Kill())
	require.Error(p.t, p.cmd.Wait())
}

// finish lets the process finish.
func (p *worker) finish() {
	p.t.Helper()
	require.NoError(p.t, p.in.Close())
	require.NoError(p.t, p.cmd.Wait())
}
