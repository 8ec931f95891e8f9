package maqettest

import (
	"reflect"
	"runtime"
	"sync"
	"testing"
	"unsafe"
)

// endPassed ends a test as one that has passed, from within calls, as FailNow and SkipNow end
// it in their ways. Package testing has no such call: it takes a goroutine that exits for a
// failure unless the test is marked as finished. So this sets that mark, which is a field
// that is not exported, and which Go may rename or change at any time. Then the test ends as
// skipped instead, with a text that says what really became of it.
func endPassed(t *testing.T) {
	t.Helper()
	mark, mu := finishedMark(t)
	endMarked(t, mark, mu)
}

func endMarked(tb testing.TB, mark *bool, mu sync.Locker) {
	tb.Helper()
	if mark == nil {
		tb.Skipf("passed in the guest")
	}
	mu.Lock()
	*mark = true
	mu.Unlock()
	runtime.Goexit()
}

// finishedMark returns the mark of a pointer to a testing.T, or of what looks like one, and
// its lock; nil when they are not what Go 1.26 has.
func finishedMark(t any) (*bool, sync.Locker) {
	test := reflect.ValueOf(t).Elem()
	if test.Kind() != reflect.Struct {
		return nil, nil
	}
	mark, mu := test.FieldByName("finished"), test.FieldByName("mu")
	if !mark.IsValid() || mark.Type() != reflect.TypeFor[bool]() || !mu.IsValid() || mu.Type() != reflect.TypeFor[sync.RWMutex]() {
		return nil, nil
	}
	// The fields are those of a variable, so they have addresses.
	return (*bool)(unsafe.Pointer(mark.UnsafeAddr())), (*sync.RWMutex)(unsafe.Pointer(mu.UnsafeAddr()))
}
