package snapshot

import "context"

// fits refuses memory that does not fit the VM as it is now.
func (op *operation) fits(ctx context.Context, rec *Record) error { return nil }
