package qmp

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"sync"

	"github.com/maqet/maqet/errors"
)

const (
	// transcriptSize is the default size of a transcript's file, in bytes.
	transcriptSize = 8 << 20
	// transcriptKeep is the default number of older files.
	transcriptKeep = 2
	// transcriptQueue is how many frames wait for the disk.
	transcriptQueue = 1024
	// transcriptFrame is how much of a frame is written, in bytes.
	transcriptFrame = 16 << 10
)

// TranscriptOption changes how [Manager.Transcript] writes.
type TranscriptOption func(*Transcript)

// TranscriptSize sets at what size in bytes a transcript's file is put away as PATH.1 and
// begun anew, and how many such older files are kept, 0 or more. Default, also for a size
// that is not positive: 8 MiB; 2 older files.
func TranscriptSize(size int64, keep int) TranscriptOption {
	return func(t *Transcript) {
		if t.file.keep = max(keep, 0); size > 0 {
			t.file.limit = size
		}
	}
}

// Transcript is a file that gets every frame of a VM's control channel, one a line:
//
//	2026-01-02T15:04:05.000001Z -> {"execute":"query-status"}
//	2026-01-02T15:04:05.000243Z <- {"return": {"status": "running", "running": true}}
//
// Secrets are replaced by "***": passwords, also those in URLs, the data of secret objects
// (and all texts that qom-get returns), lines for the human monitor, and the keys that are
// typed. Frames are cut after 16 KiB. The connection
// never waits for the disk: when it is too slow, frames are left out and a line says
// how many.
type Transcript struct {
	file  rotatingFile
	log   *slog.Logger
	vm    string
	queue chan queuedFrame
	stop  func() // no frame comes after it
	work  sync.WaitGroup

	mu     sync.Mutex
	missed int // frames left out since the last one queued
	closed bool
	err    error
}

// queuedFrame is a frame with how many were left out just before it.
type queuedFrame struct {
	Frame
	missed int
}

// Transcript begins to write what goes over the control channel of the VM called ref to
// the file path, until Close or until the connection has ended. The file is made with
// mode 0600; one that is a transcript already is continued, any other is refused. Several
// transcripts of a VM can be written at once. errors.ErrQMPUnsupported when the VM's
// channel can't be watched.
func (m *Manager) Transcript(ctx context.Context, ref, path string, opts ...TranscriptOption) (*Transcript, error) {
	conn, err := m.find.QMP(ctx, ref)
	if err != nil {
		return nil, err
	}
	tapper, ok := conn.(Tapper)
	if !ok {
		return nil, &errors.Error{Kind: errors.ErrQMPUnsupported, Op: "QMP transcript", VM: m.label(ref), Msg: "its control channel can't be watched"}
	}
	t := &Transcript{log: m.log, vm: m.label(ref), queue: make(chan queuedFrame, transcriptQueue),
		file: rotatingFile{path: path, limit: transcriptSize, keep: transcriptKeep}}
	for _, opt := range opts {
		opt(t)
	}
	if err := t.file.open(); err != nil {
		return nil, errors.Wrap(errors.ErrQMP, "QMP transcript", m.label(ref), err)
	}
	t.stop = tapper.Tap(t.take)
	done := conn.Done()
	t.work.Go(func() { t.write(done) })
	return t, nil
}

// Close ends the transcript and returns the first error that writing met. It is idempotent.
func (t *Transcript) Close() error {
	t.end()
	t.work.Wait()
	t.mu.Lock()
	defer t.mu.Unlock()
	return errors.Wrap(errors.ErrQMP, "QMP transcript", t.vm, t.err)
}

// end lets no more frames in, once.
func (t *Transcript) end() {
	t.stop()
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.closed {
		t.closed = true
		close(t.queue)
	}
}

// take queues a frame; it is called by the connection.
func (t *Transcript) take(f Frame) {
	if !f.Sent {
		f.Data = blankReply(f.Command, f.Data)
	}
	if len(f.Data) > transcriptFrame && !f.Sent {
		f.Data = fmt.Appendf(bytes.Clone(f.Data[:transcriptFrame]), "... (%d bytes)", len(f.Data))
	} else {
		f.Data = bytes.Clone(f.Data)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return
	}
	select {
	case t.queue <- queuedFrame{f, t.missed}:
		t.missed = 0
	default:
		t.missed++
	}
}

// write moves frames to the file until the queue is closed.
func (t *Transcript) write(done <-chan struct{}) {
	for {
		select {
		case f, ok := <-t.queue:
			if !ok {
				t.mu.Lock()
				missed := t.missed
				t.mu.Unlock()
				if missed > 0 {
					t.keep(t.file.write(leftOut(nil, missed)))
				}
				t.keep(t.file.close())
				return
			}
			t.keep(t.record(f))
		case <-done:
			done = nil
			t.end() // what is queued is still written
		}
	}
}

func leftOut(line []byte, missed int) []byte {
	return fmt.Appendf(line, "# %d frames left out: the disk was too slow\n", missed)
}

func (t *Transcript) record(f queuedFrame) error {
	var line []byte
	if f.missed > 0 {
		line = leftOut(line, f.missed)
	}
	line = f.Time.UTC().AppendFormat(line, "2006-01-02T15:04:05.000000Z07:00")
	data := bytes.TrimSpace(f.Data)
	if f.Sent {
		line = append(line, " -> "...)
		data = blank(data)
		if len(data) > transcriptFrame {
			data = fmt.Appendf(data[:transcriptFrame:transcriptFrame], "... (%d bytes)", len(f.Data))
		}
	} else {
		line = append(line, " <- "...)
	}
	return t.file.write(append(append(line, data...), '\n'))
}

// keep remembers and logs the first error.
func (t *Transcript) keep(err error) {
	if err == nil {
		return
	}
	t.mu.Lock()
	first := t.err == nil
	if first {
		t.err = err
	}
	t.mu.Unlock()
	if first {
		t.log.Warn("QMP transcript not written", "vm", t.vm, "error", err)
	}
}
