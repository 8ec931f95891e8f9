package snapshot

import (
	"context"
	"strings"
	"time"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/qmp"
	"github.com/maqet/maqet/qmp/qapi"
)

const (
	// undoLimit is how long an operation that was given up may go on in the background to
	// undo what it has done. What is left then is for whoever comes next.
	undoLimit = 2 * time.Minute
	// progressPause is how often a job is asked how far it is, if somebody wants to know:
	// there is no event for it.
	progressPause = 100 * time.Millisecond
)

// errJobGone is the end of a job that is not in QEMU's list any more: somebody else has
// dismissed it, and with it how it ended.
var errJobGone = errors.New("the job was dismissed by somebody else")

// jobPrefix begins the ids of all jobs of maqet.
const jobPrefix = "maqet-"

// jobsOf begins the ids of the jobs of one snapshot.
func jobsOf(rec *Record) string { return jobPrefix + rec.ID + "-" }

// jobID is the id of the job that does something for a snapshot.
func jobID(rec *Record, what string) string { return jobsOf(rec) + what }

// jobs are jobs of QEMU that belong together: one command starts them. They must stay in
// QEMU's list when they have ended ("auto-dismiss": false, where a command has that), so that
// how they ended can be asked for, by whoever comes next if need be. follow dismisses them,
// unless keep is set.
type jobs struct {
	conn  qmp.Conn
	ids   []string
	start func(ctx context.Context) error // nil: they were started before
	// ready is called once for each job that becomes ready to be completed; nil: they are let be.
	ready func(ctx context.Context, id string) error
	// leave has the jobs go on when ctx ends: what is journaled is found again by whoever
	// comes next.
	leave bool
	// keep leaves jobs that have ended in QEMU's list: the caller dismisses them, when it has
	// recorded what they did.
	keep bool
	step string         // for progress
	tell func(Progress) // nil: nobody wants to know
}

// follow starts the jobs and returns when all have ended and are dismissed: with nil if they
// went well, else with the first failure, an *errors.QMPError; or errors.ErrQMPConnection when
// the connection is lost and nothing more is known.
//
// When ctx ends first they are cancelled, unless leave is set, and follow waits for that,
// undoLimit at most: it is for operations that their caller need not wait for (see work). The
// result is then nil if they went well all the same, else ctx's error.
func (j jobs) follow(ctx context.Context) error {
	if holder, ok := j.conn.(qmp.Holder); ok { // where monitors are shared, events come only in our turn
		release, err := holder.Hold(ctx)
		if err != nil {
			return err
		}
		defer release()
	}
	sub := j.conn.Subscribe(qapi.EventJobStatusChange)
	defer sub.Close()
	f := &following{jobs: j, events: sub.C(), open: map[string]bool{}, readied: map[string]bool{}}
	for _, id := range j.ids {
		f.open[id] = true
	}
	err := f.begin(ctx)
	if err == nil {
		err = f.wait(ctx)
	}
	if err == nil || ctx.Err() == nil || j.leave {
		return errors.Join(err, f.failure)
	}
	cause := context.Cause(ctx)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoLimit)
	defer cancel()
	if err := f.cancel(ctx); err != nil {
		return errors.Join(cause, err)
	}
	if f.failure != nil {
		return cause
	}
	return nil
}

// following is one call of follow.
type following struct {
	jobs
	events  <-chan qmp.Event
	open    map[string]bool // ids of those that have not ended
	readied map[string]bool
	past    Progress // of those that have ended
	failure error    // the first
}

func (f *following) begin(ctx context.Context) error {
	if f.start == nil {
		return f.look(ctx)
	}
	return f.start(ctx)
}

// wait returns when all jobs have ended.
func (f *following) wait(ctx context.Context) error {
	var tick <-chan time.Time
	if f.tell != nil {
		ticker := time.NewTicker(progressPause)
		defer ticker.Stop()
		tick = ticker.C
	}
	for len(f.open) > 0 {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick:
		case ev, ok := <-f.events:
			if !ok {
				return f.lost()
			}
			if !f.matters(ev) {
				continue
			}
		}
		if err := f.look(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (f *following) lost() error {
	if err := f.conn.Err(); err != nil {
		return err
	}
	return &errors.Error{Kind: errors.ErrQMPConnection, Op: "follow a job of QEMU", Msg: "events have ended"}
}

// matters reports whether an event says something new of one of the jobs, or that events
// were missed.
func (f *following) matters(ev qmp.Event) bool {
	if ev.Name == qmp.EventGap || ev.Dropped > 0 {
		return true
	}
	var change qapi.JobStatusChangeEvent
	if ev.Decode(&change) != nil || !f.open[change.ID] {
		return false
	}
	switch change.Status {
	case qapi.JobStatusConcluded, qapi.JobStatusNull:
		return true
	case qapi.JobStatusReady:
		return f.ready != nil
	}
	return false
}

// look asks how far the jobs are, tells it, and takes leave of those that have ended.
func (f *following) look(ctx context.Context) error {
	list, err := qapi.QueryJobs(ctx, f.conn)
	if err != nil {
		return err
	}
	progress := f.past
	listed := map[string]bool{}
	for _, job := range list {
		if !f.open[job.ID] {
			continue
		}
		listed[job.ID] = true
		progress.Done += job.CurrentProgress
		progress.Total += job.TotalProgress
		if job.Status == qapi.JobStatusConcluded {
			f.past.Done += job.CurrentProgress
			f.past.Total += job.TotalProgress
		}
		if err := f.further(ctx, job); err != nil {
			return err
		}
	}
	for id := range f.open {
		if !listed[id] {
			f.ended(id, errJobGone)
		}
	}
	if f.tell != nil && ctx.Err() == nil {
		progress.Step = f.step
		f.tell(progress)
	}
	return nil
}

// further does what a job's status asks for.
func (f *following) further(ctx context.Context, job qapi.JobInfo) error {
	switch {
	case job.Status == qapi.JobStatusConcluded:
		if !f.keep {
			if err := dismiss(ctx, f.conn, job.ID); err != nil {
				return err
			}
		}
		f.ended(job.ID, jobFailure(job))
	case job.Status == qapi.JobStatusReady && f.ready != nil && !f.readied[job.ID]:
		f.readied[job.ID] = true
		return f.ready(ctx, job.ID)
	}
	return nil
}

func (f *following) ended(id string, failure error) {
	delete(f.open, id)
	if f.failure == nil {
		f.failure = failure
	}
}

// cancel cancels the jobs that have not ended, and waits until they have.
func (f *following) cancel(ctx context.Context) error {
	f.ready, f.tell = nil, nil
	for id := range f.open {
		if err := unlessRefused(qapi.JobCancel(ctx, f.conn, id)); err != nil { // refused: never started, or ended
			return err
		}
	}
	if err := f.look(ctx); err != nil {
		return err
	}
	return f.wait(ctx)
}

// dismiss takes a job that has ended off QEMU's list. That it is off already is no error.
func dismiss(ctx context.Context, e qmp.Executor, id string) error {
	return unlessRefused(qapi.JobDismiss(ctx, e, id))
}

// unlessRefused drops a refusal of QEMU's.
func unlessRefused(err error) error {
	var refusal *errors.QMPError
	if errors.As(err, &refusal) {
		return nil
	}
	return err
}

// jobFailure returns why a job that has ended failed, nil if it did not.
func jobFailure(job qapi.JobInfo) error {
	if job.Error == "" {
		return nil
	}
	return &errors.QMPError{Command: string(job.Type), Class: "GenericError", Desc: job.Error}
}

// left returns the jobs of a snapshot that are in QEMU's list: who started them has died. A job
// with another id can be named besides.
func left(ctx context.Context, e qmp.Executor, rec *Record, other string) (jobs []qapi.JobInfo, err error) {
	list, err := qapi.QueryJobs(ctx, e)
	for _, job := range list {
		if strings.HasPrefix(job.ID, jobsOf(rec)) || job.ID == other {
			jobs = append(jobs, job)
		}
	}
	return jobs, err
}
