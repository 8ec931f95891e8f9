package wire

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"
	"time"
)

// maxStreams bounds what a host can have a guest run side by side, and with it
// the guest's memory: at most 3 x Window for each.
const maxStreams = 64

// Operations is what a server does for its host. All methods but Start may be
// called concurrently. Errors travel as a [RemoteError].
type Operations interface {
	// Start is called at a session's start, before the host gets its answer.
	Start(s Sync)
	// Exec runs a program; it reads and writes only the pipes that cmd asks for.
	Exec(ctx context.Context, cmd Command, stdin *In, stdout, stderr *Out) (ExecResult, error)
	ReadFile(ctx context.Context, path string, to *Out) error
	WriteFile(ctx context.Context, path string, mode fs.FileMode, from *In) error
	PutTree(ctx context.Context, dir string, from *In) error
	GetTree(ctx context.Context, path string, to *Out) error
	Stat(path string) (FileInfo, error)
	Reseed(seed []byte) error
	SetTime(t time.Time) error
	Individualize(id Identity) error
	// Dial connects to a TCP address, "IP:PORT", calls connected, and passes bytes on until
	// both sides have ended their direction.
	Dial(ctx context.Context, address string, connected func() error, from *In, to *Out) error
}

// Serve answers hosts on conn, one session after another, until conn fails or
// the context ends; it then closes conn, ends what is running and returns why.
// conn may return [ErrPeerGone] from Read any number of times.
func Serve(ctx context.Context, conn io.ReadWriteCloser, ops Operations, features ...string) error {
	s := &server{ctx: ctx, ops: ops, out: newDirectWriter(conn), features: features}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	err := s.run(bufio.NewReaderSize(conn, readBuffer), conn)
	conn.Close() // ends writes that are under way
	s.running.Wait()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

type server struct {
	ctx      context.Context
	ops      Operations
	out      *writer
	features []string
	running  sync.WaitGroup
}

func (s *server) run(br *bufio.Reader, conn io.Reader) error {
	for {
		err := s.session(br)
		switch {
		case errors.Is(err, ErrPeerGone):
			br.Reset(conn)
		case errors.Is(err, ErrProtocol):
			// The next sync is looked for.
		default:
			return err
		}
	}
}

// session waits for a sync and serves until the session ends. Operations that
// it leaves behind end by their context, beside the next session.
func (s *server) session(br *bufio.Reader) error {
	sync, nonce, err := readSync(br)
	if err != nil {
		return err
	}
	p := newPeer(s.out)
	s.ops.Start(sync)
	hello := newHello(Hello{Version: Version, MaxStreams: maxStreams, Features: s.features}, nonce)
	if err := s.out.writeNow(item{peer: p, raw: hello}); err != nil {
		return fmt.Errorf("wire: write: %w", err)
	}
	err = p.readFrames(br, func(h header, payload []byte) error { return s.dispatch(p, h, payload) })
	if errors.Is(err, ErrProtocol) {
		// A host that is still there learns why. One that has sent a sync
		// instead of a frame reads, too, and skips this.
		_ = s.out.writeNow(item{peer: p, frame: controlFrame(frameBye, 0, 0, []byte(err.Error()))})
	}
	p.fail(err)
	return err
}

// dispatch takes the frames that only a guest receives.
func (s *server) dispatch(p *peer, h header, payload []byte) error {
	switch h.typ {
	case frameOpen:
		return s.open(p, h.stream, payload)
	case frameCancel:
		if st := p.stream(h.stream); st != nil {
			st.cancel(context.Canceled)
		}
		return nil
	default:
		return fmt.Errorf("%w: frame type %d from the host", ErrProtocol, h.typ)
	}
}

func (s *server) open(p *peer, id uint32, payload []byte) error {
	if len(payload) == 0 {
		return fmt.Errorf("%w: empty request", ErrProtocol)
	}
	p.mu.Lock()
	count, taken := len(p.streams), p.streams[id] != nil
	p.mu.Unlock()
	if taken || count >= maxStreams {
		return fmt.Errorf("%w: stream %d opened with %d open (in use: %t)", ErrProtocol, id, count, taken)
	}
	st := newStream(s.ctx, p, id, 1, 2)
	if err := p.add(st); err != nil {
		return err
	}
	s.running.Go(func() { s.serve(st, operation(payload[0]), &decoder{b: payload[1:]}) })
	return nil
}

// serve runs one operation and sends its result behind all its output.
func (s *server) serve(st *stream, op operation, args *decoder) {
	reply, err := s.perform(st, op, args)
	for _, out := range st.out {
		if flushErr := out.Flush(); err == nil {
			err = flushErr
		}
	}
	f := controlFrame(frameDone, 0, st.id, encodeResult(op, reply, err))
	// The slot is free before the host can hear that it is.
	st.peer.remove(st.id)
	st.cancel(errStreamDone)
	_ = st.peer.sendData(s.ctx, f) // a host that is gone misses nothing
}

func (s *server) perform(st *stream, op operation, d *decoder) (reply []byte, err error) {
	in, out := st.in[0], st.out[0]
	var run func() error
	switch op {
	case opPing:
		run = func() error { return nil }
	case opExec:
		cmd := decodeCommand(d)
		run = func() error {
			res, err := s.ops.Exec(st.ctx, cmd, in, out, st.out[1])
			reply = res.encode()
			return err
		}
	case opReadFile:
		path := d.string()
		run = func() error { return s.ops.ReadFile(st.ctx, path, out) }
	case opWriteFile:
		path, mode := d.string(), fs.FileMode(d.uint())
		run = func() error { return s.ops.WriteFile(st.ctx, path, mode, in) }
	case opPutTree:
		path := d.string()
		run = func() error { return s.ops.PutTree(st.ctx, path, in) }
	case opGetTree:
		path := d.string()
		run = func() error { return s.ops.GetTree(st.ctx, path, out) }
	case opStat:
		path := d.string()
		run = func() error {
			info, err := s.ops.Stat(path)
			reply = info.encode()
			return err
		}
	case opReseed:
		seed := d.bytes()
		run = func() error { return s.ops.Reseed(seed) }
	case opSetTime:
		t := d.time()
		run = func() error { return s.ops.SetTime(t) }
	case opIndividualize:
		id := decodeIdentity(d)
		run = func() error { return s.ops.Individualize(id) }
	case opDial:
		address := d.string()
		run = func() error {
			return s.ops.Dial(st.ctx, address, func() error { return st.out[1].CloseWrite() }, in, out)
		}
	default:
		return nil, fmt.Errorf("the guest does not know %s", op)
	}
	if d.err != nil {
		return nil, d.err
	}
	err = run()
	return reply, err
}
