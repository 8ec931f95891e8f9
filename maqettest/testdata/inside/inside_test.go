package inside

import (
	"os"
	"testing"

	"github.com/maqet/maqet/maqettest"
	"github.com/maqet/maqet/vm"
)

var lab = maqettest.NewTemplate(maqettest.Memory(512 * vm.MiB))

func TestMain(m *testing.M) { os.Exit(maqettest.Main(m)) }

func TestOne(t *testing.T) {
	t.Parallel()
	Both()
	maqettest.InGuest(t, maqettest.ForkOf(lab))
	Guest()
}

func TestTwo(t *testing.T) {
	t.Parallel()
	Both()
	maqettest.InGuest(t, maqettest.ForkOf(lab))
	Guest()
	Guest()
}
