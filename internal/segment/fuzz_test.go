//go:build linux

package segment_test

import (
	"testing"
	"time"
)

// FuzzFrames sends what a machine may send; another pair must still be able to talk.
func FuzzFrames(f *testing.F) {
	f.Add([]byte(nil))
	f.Add(ethernet(broadcast, mac(3), "x"))
	f.Add(ethernet(mac(1), mac(2), "with another's address"))
	f.Add(ethernet(mac(3), broadcast, ""))
	f.Add(make([]byte, 70000))
	dir := folder(f)
	join(f, dir)
	a, b, fuzzed := plug(f, dir, 1), plug(f, dir, 2), plug(f, dir, 3)
	a.awaits(b)
	f.Fuzz(func(t *testing.T, data []byte) {
		_, _ = fuzzed.conn.WriteTo(data, fuzzed.to) // too long for the kernel, perhaps
		deadline := time.Now().Add(limit)
		for {
			// A fuzzed frame may have taken b's address.
			for _, send := range []func() (int, error){
				func() (int, error) { return b.conn.WriteTo(ethernet(broadcast, mac(2), "here"), b.to) },
				func() (int, error) { return a.conn.WriteTo(ethernet(mac(2), mac(1), "ping"), a.to) },
			} {
				if _, err := send(); err != nil {
					t.Fatal(err)
				}
			}
			got, err := b.next(100 * time.Millisecond)
			for err == nil && got != "ping" {
				got, err = b.next(100 * time.Millisecond)
			}
			for _, e := a.next(time.Microsecond); e == nil; _, e = a.next(time.Microsecond) {
				continue
			}
			if err == nil {
				return
			}
			if time.Now().After(deadline) {
				t.Fatal("the segment has failed", err)
			}
		}
	})
}

// BenchmarkSwitch passes frames of a usual length from one card to another.
func BenchmarkSwitch(b *testing.B) {
	dir := folder(b)
	join(b, dir)
	from, to := plug(b, dir, 1), plug(b, dir, 2)
	from.awaits(to)
	to.send(mac(1), "here")
	from.gets()
	payload := string(make([]byte, 1486))
	b.SetBytes(1500)
	for b.Loop() {
		from.send(mac(2), payload)
		to.gets()
	}
}
