package vm

// Distant is a [Guest] on a host that can be out of reach while the guest runs on.
type Distant interface {
	// Reach tells when the host stops answering, with an error that is
	// errors.ErrHostUnreachable, and when it answers again, with nil. An outage that is over
	// soon is not told. It is never closed. Nobody but the Manager reads it.
	Reach() <-chan error
}
