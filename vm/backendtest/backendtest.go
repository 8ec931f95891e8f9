package backendtest

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maqet/maqet/vm"
)

// Options say what the suite runs on.
type Options struct {
	// New returns the place where a case runs; it is called for each. What it makes ends with
	// tb, after everything that the case made. Required.
	New func(tb testing.TB) Harness
	// Config is what the Config of every VM is made of: its Accel, its Machine, and as Backend
	// what the backend calls itself in Runtime.Backend; empty: "process". A case sets what it
	// is about.
	Config vm.Config
	// Booter finds what the default guest boots from. Nil: guest.NewBooter's, with its default
	// cache.
	Booter vm.Booter
	// Lacks names what the backend can't do. Cases that need it are not run; Run logs which.
	Lacks []Feature
}

// Harness is a place where guests run: a host, with the folders of a backend on it.
type Harness struct {
	// Open returns a backend on the place, as every process that works there has one of its
	// own. The suite closes it, some twice. Required.
	Open func(tb testing.TB) vm.Backend
	// Kill ends a guest behind the backend's back, as an operator or the kernel does.
	// Required.
	Kill func(tb testing.TB, inst vm.Instance)
	// Left lists what there is of guests in the place, in any order: processes, domains,
	// sockets, files. A case must not add to it. What is kept for later guests, such as a
	// cache, does not count. Nil: the suite does not look.
	Left func(tb testing.TB) []string
	// Put makes a raw image that guests can use in place, and returns its path as a Config has
	// it. It ends with tb. Nil: a file in a temporary folder.
	Put func(tb testing.TB, data []byte) (path string)
}

// Feature is something that a backend may lack.
type Feature string

// Features, each of which some cases need.
const (
	// QMP is that any QMP command gets QEMU's answer, and any event comes. Without it there
	// are still query-status, stop and cont, which vm.Manager needs.
	QMP Feature = "QMP"
	// Channels is that Dial opens channels of a guest, also of one whose CPUs stand still.
	Channels Feature = "channels"
	// Consoles is that several processes take turns at the console: without it the first one
	// that works with a guest keeps it, and Dial of the others waits until that one lets go of
	// the guest.
	Consoles Feature = "consoles"
	// Machines is that Check knows QEMU's machine types.
	Machines Feature = "machines"
	// PC is that a guest runs what a PC with ACPI runs, a kernel of the suite's own, which
	// works with the console. It needs Channels.
	PC Feature = "PC"
	// Panics is that a guest can have the panic device.
	Panics Feature = "panics"
	// System is that the default guest boots, and has disks, networks and an agent.
	System Feature = "system"
	// Persistence is that persistent guests outlive the backend.
	Persistence Feature = "persistence"
	// Causes is that Exit and the events tell a guest that was killed from one that powered
	// itself off.
	Causes Feature = "causes"
)

// features is every Feature, so that one with a typo is noticed.
var features = []Feature{QMP, Channels, Consoles, Machines, PC, Panics, System, Persistence, Causes}

// testCase is a case of the suite.
type testCase struct {
	name  string
	needs []Feature
	run   func(p *place)
}

// Run runs every case that the backend has the features for, each as a subtest.
func Run(t *testing.T, o Options) {
	t.Helper()
	require.NotNil(t, o.New, "Options.New")
	for _, f := range o.Lacks {
		require.Contains(t, features, f, "Options.Lacks")
	}
	var without []string
	for _, c := range cases {
		if i := slices.IndexFunc(c.needs, func(f Feature) bool { return slices.Contains(o.Lacks, f) }); i >= 0 {
			without = append(without, c.name+" ("+string(c.needs[i])+")")
			continue
		}
		t.Run(c.name, func(t *testing.T) { c.run(newPlace(t, o)) })
	}
	if len(without) > 0 {
		t.Logf("%d of %d cases were not run, for want of a feature: %s", len(without), len(cases), strings.Join(without, ", "))
	}
}
