package wire

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"
)

// pumps are the goroutines that move bytes between a stream and the caller's
// readers and writers.
type pumps struct {
	st     *stream
	failed chan error    // a pump's failure, other than the stream's own end
	recvs  chan struct{} // closed when the receiving pumps have ended
	all    chan struct{} // closed when every pump has ended
}

func startPumps(st *stream, r request) *pumps {
	p := &pumps{st: st, failed: make(chan error, 3), recvs: make(chan struct{}), all: make(chan struct{})}
	var recv, send sync.WaitGroup
	for i, drain := range r.recv {
		if drain != nil {
			recv.Go(func() { p.report(drain(st.in[i])) })
		}
	}
	if r.send != nil {
		send.Go(func() {
			err := r.send(st.out[0])
			if err == nil {
				err = st.out[0].CloseWrite()
			}
			p.report(err)
		})
	}
	go func() {
		recv.Wait()
		close(p.recvs)
		send.Wait()
		close(p.all)
	}()
	return p
}

func (p *pumps) report(err error) {
	if err != nil && !errors.Is(err, errStreamDone) {
		p.failed <- err
	}
}

// drain waits, after the result is here, until all output has been passed on.
func (p *pumps) drain(ctx context.Context) error {
	select {
	case <-p.recvs:
	case <-p.st.ctx.Done():
		return context.Cause(p.st.ctx)
	}
	p.settle()
	select {
	case err := <-p.failed:
		return err
	default:
		return nil
	}
}

// settle gives the pumps a moment to end; one that is stuck in the caller's
// code is left behind.
func (p *pumps) settle() {
	select {
	case <-p.all:
		return
	default:
	}
	grace := time.NewTimer(pumpGrace)
	defer grace.Stop()
	select {
	case <-p.all:
	case <-grace.C:
	}
}

// toWriter drains a pipe into w.
func toWriter(w io.Writer) func(*In) error {
	if w == nil {
		return nil
	}
	return func(in *In) error {
		_, err := in.WriteTo(w)
		return err
	}
}

// fromReader feeds a pipe from r.
func fromReader(r io.Reader) func(*Out) error {
	if r == nil {
		return nil
	}
	return func(out *Out) error {
		_, err := out.ReadFrom(r)
		return err
	}
}
