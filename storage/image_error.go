package storage

import (
	"fmt"
	"strings"

	"github.com/maqet/maqet/errors"
	"github.com/maqet/maqet/internal/imagelock"
)

// Holder is a process that has an image open: its PID, and the program's name.
type Holder = imagelock.Holder

// ImageError is an image that can't be used as asked. Its kind is Kind, which is
// errors.ErrStorage or a narrower one.
type ImageError struct {
	Kind *errors.Kind
	// Path is the image with the fault: the one that was asked for, or one below it.
	Path string
	// Chain are the images from the one that was asked for down to Path: each is the base of
	// the one before.
	Chain []string
	Msg   string // what is wrong with it: "does not exist"
	Fix   string // what to do, if that is known
	// Holders are the processes that use an image that is in use, as far as this user can
	// see them.
	Holders []Holder
	// Overlays are the registered images that stand on an image that is in use as their base.
	Overlays []string
	Err      error // the cause; may be nil
}

// Error says what is wrong with which image, how it is reached, and what to do.
func (e *ImageError) Error() string {
	text := fmt.Sprintf("image %q %s", e.Path, e.Problem(nil))
	if e.Fix != "" {
		text += " (" + e.Fix + ")"
	}
	return text
}

// Unwrap returns the kind and the cause.
func (e *ImageError) Unwrap() []error {
	if e.Err == nil {
		return []error{e.Kind}
	}
	return []error{e.Kind, e.Err}
}

// Problem is the message without the image's name and what to do. name says of a process
// what it is; nil, or an empty answer: its program's name will do.
func (e *ImageError) Problem(name func(pid int) string) string {
	text := e.Msg
	if len(e.Holders) > 0 {
		who := make([]string, len(e.Holders))
		for i, h := range e.Holders {
			called := h.Program
			if name != nil {
				if known := name(h.PID); known != "" {
					called = known
				}
			}
			who[i] = fmt.Sprintf("%s (PID %d)", called, h.PID)
		}
		text += " by " + strings.Join(who, ", ")
	}
	for i, path := range e.Overlays {
		if i == maxNamed {
			text += fmt.Sprintf(" and %d more", len(e.Overlays)-i)
			break
		}
		text += []string{" ", ", "}[min(i, 1)] + quote(path)
	}
	if len(e.Chain) > 1 {
		text += "; the chain is " + chainText(e.Chain)
	}
	return text
}

// maxNamed is how many overlays a message names.
const maxNamed = 5

func chainText(chain []string) string {
	quoted := make([]string, len(chain))
	for i, path := range chain {
		quoted[i] = quote(path)
	}
	return strings.Join(quoted, " over ")
}
