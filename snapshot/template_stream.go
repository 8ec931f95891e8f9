package snapshot

import (
	"context"
	"io"
	"math"
	"net"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/qmp"
	"github.com/maqet/maqet/qmp/qapi"
)

// stream is a migration of a machine's state between QEMU and a file of this process. It goes
// through a socketpair: QEMU 10.0 deprecates a regular file as "fd:" (QEMU, docs/about/deprecated).
type stream struct {
	conn   qmp.Conn
	files  qmp.FileExecutor
	shared bool // the memory is in a file that both have: it is not in the stream

	events *qmp.Subscription
}

// streamFD is the name by which QEMU is given its end. It is of one monitor.
const streamFD = "maqet-state"

// openStream prepares a migration. The result must be closed.
func openStream(ctx context.Context, conn qmp.Conn, shared bool) (s *stream, closeStream func(), err error) {
	files, ok := conn.(qmp.FileExecutor)
	if !ok {
		return nil, nil, errors.New("this connection to QEMU can't pass files")
	}
	release := func() {}
	if holder, ok := conn.(qmp.Holder); ok { // the descriptor and the events are of our turn
		if release, err = holder.Hold(ctx); err != nil {
			return nil, nil, err
		}
	}
	s = &stream{conn: conn, files: files, shared: shared, events: conn.Subscribe(qapi.EventMigration)}
	closeStream = func() {
		s.events.Close()
		release()
	}
	if err = s.ignoreShared(ctx, shared); err != nil {
		closeStream()
		return nil, nil, err
	}
	return s, closeStream, nil
}

// ignoreShared has QEMU leave shared memory out of what it saves, or not. It must be off again
// in a guest that goes on: snapshots would be made without the memory as well.
func (s *stream) ignoreShared(ctx context.Context, on bool) error {
	return qapi.MigrateSetCapabilities(ctx, s.conn, []qapi.MigrationCapabilityStatus{
		{Capability: qapi.MigrationCapabilityEvents, State: true},
		{Capability: qapi.MigrationCapabilityXIgnoreShared, State: on},
	})
}

// save writes the state of a machine that stands still to w.
func (s *stream) save(ctx context.Context, w io.Writer) error {
	unlimited := uint64(math.MaxInt64)
	if err := qapi.MigrateSetParameters(ctx, s.conn, qapi.MigrateSetParametersArgs{MaxBandwidth: &unlimited}); err != nil {
		return err
	}
	return s.move(ctx, func(ours net.Conn) error {
		_, err := io.Copy(w, ours)
		return err
	}, func(uri string) error { return qapi.Migrate(ctx, s.conn, qapi.MigrateArgs{URI: uri}) })
}

// load has a QEMU that waits for it read the state from r. The machine stands still afterwards.
func (s *stream) load(ctx context.Context, r io.Reader) error {
	return s.move(ctx, func(ours net.Conn) error {
		_, err := io.Copy(ours, r)
		return errors.Join(err, ours.(*net.UnixConn).CloseWrite())
	}, func(uri string) error {
		return qapi.MigrateIncoming(ctx, s.conn, qapi.MigrateIncomingArgs{URI: uri})
	})
}

// move gives QEMU one end of a connection, has transfer work at the other, starts the
// migration and waits for the end of both.
func (s *stream) move(ctx context.Context, transfer func(ours net.Conn) error, start func(uri string) error) error {
	ours, theirs, err := socketPair()
	if err != nil {
		return err
	}
	err = qapi.GetFD(ctx, s.files, streamFD, theirs)
	err = errors.Join(err, theirs.Close()) // QEMU has its own
	if err != nil {
		return errors.Join(err, ours.Close())
	}
	var moved error
	done := make(chan struct{})
	go func() { // ends when QEMU closes its end, or ours is closed
		defer close(done)
		moved = transfer(ours)
	}()
	if err = start("fd:" + streamFD); err == nil {
		err = s.wait(ctx)
	} else { // nobody reads or closes it
		err = errors.Join(err, qapi.CloseFD(context.WithoutCancel(ctx), s.conn, streamFD))
	}
	if err != nil {
		err = errors.Join(err, ours.Close()) // which ends the transfer
		<-done
		return err
	}
	select {
	case <-done:
		return errors.Join(moved, ours.Close())
	case <-ctx.Done():
		err = errors.Join(context.Cause(ctx), ours.Close())
		<-done
		return err
	}
}

// wait returns when the migration has ended.
func (s *stream) wait(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case ev, ok := <-s.events.C():
			if !ok {
				return errors.Join(errors.New("the connection to QEMU was lost"), s.conn.Err())
			}
			var change qapi.MigrationEvent
			if ev.Name == qapi.EventMigration && ev.Decode(&change) == nil {
				if done, err := s.ended(ctx, change.Status); done {
					return err
				}
			}
		}
	}
}

func (s *stream) ended(ctx context.Context, status qapi.MigrationStatus) (bool, error) {
	switch status {
	case qapi.MigrationStatusCompleted:
		return true, nil
	case qapi.MigrationStatusFailed, qapi.MigrationStatusCancelled:
		info, err := qapi.QueryMigrate(ctx, s.conn)
		if err != nil || info.ErrorDesc == "" {
			return true, errors.Join(errors.New("the migration has "+string(status)), err)
		}
		return true, errors.New("the migration has " + string(status) + ": " + info.ErrorDesc)
	}
	return false, nil
}

// cancel ends a migration that was given up, and waits until QEMU is through with it.
func (s *stream) cancel(ctx context.Context) error {
	if err := qapi.MigrateCancel(ctx, s.conn); err != nil {
		return err
	}
	for {
		info, err := qapi.QueryMigrate(ctx, s.conn)
		if err != nil {
			return err
		}
		switch info.Status {
		case "", qapi.MigrationStatusNone, qapi.MigrationStatusCompleted, qapi.MigrationStatusFailed, qapi.MigrationStatusCancelled:
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case _, ok := <-s.events.C():
			if !ok {
				return s.conn.Err()
			}
		}
	}
}
