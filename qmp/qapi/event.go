package qapi

import (
	"context"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/qmp"
)

// EventData is the payload of one kind of event: one of the types of this package whose
// names end in Event.
type EventData interface {
	// EventName returns the event's name in QMP.
	EventName() string
}

// As decodes an event's payload when the event is a T's; ok says whether it is. A payload
// that is no T is errors.ErrQMP.
func As[T EventData](e qmp.Event) (data T, ok bool, err error) {
	if e.Name != data.EventName() {
		return data, false, nil
	}
	data, err = decodeAs[T](e)
	return data, true, err
}

// Await returns the payload of the subscription's next event of T's kind for which match
// is true, and the event itself; a nil match matches any. Others are consumed and
// forgotten, [qmp.EventGap] too. The subscription must be one to T's events; it should
// be made before what causes the event. Errors: as [qmp.Subscription.Await], and
// errors.ErrQMP for a payload that is no T.
func Await[T EventData](ctx context.Context, sub *qmp.Subscription, match func(T) bool) (T, qmp.Event, error) {
	var data T
	var failure error
	e, err := sub.Await(ctx, func(e qmp.Event) bool {
		var ok bool
		data, ok, failure = As[T](e)
		return ok && (failure != nil || match == nil || match(data))
	})
	if err == nil {
		err = failure
	}
	if err != nil {
		var none T
		return none, e, err
	}
	return data, e, nil
}

func decodeAs[T EventData](e qmp.Event) (T, error) {
	var data T
	if err := e.Decode(&data); err != nil {
		return data, errors.Wrap(errors.ErrQMP, "decode QMP event "+e.Name, "", err)
	}
	return data, nil
}
