package errors

import stderrors "errors"

// Kind is one node in the tree of error kinds. Kinds are compared by identity;
// they are the exported Err... variables of this package and are never made
// elsewhere.
type Kind struct {
	name   string
	text   string
	parent *Kind
}

func kind(parent *Kind, name, text string) *Kind {
	return &Kind{name: name, text: text, parent: parent}
}

// Error returns the kind's short text, such as "VM not found".
func (k *Kind) Error() string { return k.text }

// Name returns the kind's name without the Err prefix, such as "VMNotFound". It
// is stable and meant for logs and metrics.
func (k *Kind) Name() string { return k.name }

// Unwrap returns the parent kind, nil for [ErrMaqet], so that errors.Is finds
// every broader kind.
func (k *Kind) Unwrap() error {
	if k.parent == nil {
		return nil
	}
	return k.parent
}

// Parent returns the next broader kind, nil for [ErrMaqet].
func (k *Kind) Parent() *Kind { return k.parent }

// KindOf returns the narrowest kind in err's chain, the first one found when err
// wraps several errors, and nil when err is not one of maqet's.
func KindOf(err error) *Kind {
	var k *Kind
	if stderrors.As(err, &k) {
		return k
	}
	return nil
}

// Is is the standard library's errors.Is.
func Is(err, target error) bool { return stderrors.Is(err, target) }

// As is the standard library's errors.As.
func As(err error, target any) bool { return stderrors.As(err, target) }

// Join is the standard library's errors.Join.
func Join(errs ...error) error { return stderrors.Join(errs...) }

// Unwrap is the standard library's errors.Unwrap.
func Unwrap(err error) error { return stderrors.Unwrap(err) }

// New is the standard library's errors.New.
func New(text string) error { return stderrors.New(text) }
