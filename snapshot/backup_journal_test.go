package snapshot_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/guest"
)

// journal is what the guest writes, in this order, while backups are made: block N to slot
// N%slots of one disk, then to the same of the other. All that was written up to one moment is
// known from the last number.
const (
	journalBlock = 4096
	journalSlots = 16
	journalAt    = 64 // blocks from the start of the disk
)

// journalScript writes until there is a file /tmp/stop. Each block is decimal digits.
const journalScript = `n=0
until test -e /tmp/stop; do
	n=$((n+1))
	for d in vda vdb; do
		printf %%04096d $n | dd of=/dev/$d bs=%d count=1 seek=$((%d + n %% %d)) oflag=direct conv=notrunc 2>/dev/null
	done
done
rm /tmp/stop; echo $n`

// writing has the guest write the journal until stop is called, which returns the last number.
func (b *bench) writing() (stop func() string) {
	b.t.Helper()
	done := make(chan string, 1)
	go func() {
		res, _ := b.guests.Exec(b.t.Context(), b.id, guest.Command{Args: []string{"sh", "-c",
			fmt.Sprintf(journalScript, journalBlock, journalAt, journalSlots)}})
		done <- strings.TrimSpace(string(res.Stdout))
	}()
	return func() string {
		b.t.Helper()
		b.sh("touch /tmp/stop")
		select {
		case n := <-done:
			return n
		case <-time.After(2 * time.Minute):
			require.FailNow(b.t, "the writer does not end")
			return ""
		}
	}
}

// lastWritten returns the last number in a journal, and checks that it is what a disk holds after
// all writes up to that one, and none later.
func lastWritten(t testing.TB, image string) int {
	t.Helper()
	data, err := os.ReadFile(image)
	require.NoError(t, err)
	slot := func(i int) string {
		at := (journalAt + i) * journalBlock
		return string(data[at : at+journalBlock])
	}
	last := 0
	for i := range journalSlots {
		var n int
		if _, err := fmt.Sscanf(slot(i), "%d", &n); err == nil {
			last = max(last, n)
		}
	}
	for n := max(1, last-journalSlots+1); n <= last; n++ {
		require.Equal(t, fmt.Sprintf("%0*d", journalBlock, n), slot(n%journalSlots), "of %d", last)
	}
	return last
}
